import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { root } from '../workspace.ts'

it('the LangChain example records its chain, its agent and its graph as trees, with token ids', () => {
  const output = execFileSync(process.execPath, ['--conditions=@agl/source', 'main.ts'], {
    cwd: join(root, 'examples/langchain'),
    encoding: 'utf8',
  })
  const lines = output.split('\n')
  expect(lines.filter((line) => /^\w+: /.test(line))).toEqual([
    'chain: Bonjour.',
    "agent: [ 'It is 42.', 'It is 43.' ]",
    'graph: Rain writes on the roof.',
  ])
  expect(
    lines.slice(
      lines.indexOf('chain: Bonjour.') + 1,
      lines.indexOf("agent: [ 'It is 42.', 'It is 43.' ]") - 1,
    ),
  ).toEqual([
    '  chain.session',
    '    RunnableSequence.chain',
    '      ChatPromptTemplate.chain',
    '      chat_model.llm',
    '        openai.chat.completion  5 token ids',
    '      StrOutputParser.chain',
  ])
  const calls = lines.filter((line) => line.includes('openai.chat.completion'))
  expect(calls).toHaveLength(8)
  expect(calls.every((line) => /  \d+ token ids$/.test(line))).toBe(true)
  expect(lines).toEqual(
    expect.arrayContaining([
      '    calculator.agent',
      '        multiply.tool',
      '    LangGraph.workflow',
      '      writer.chain',
    ]),
  )
})

it('the LangChain example with a handler records the model that it is given to, with its tags', () => {
  const output = execFileSync(process.execPath, ['--conditions=@agl/source', 'handler.ts'], {
    cwd: join(root, 'examples/langchain'),
    encoding: 'utf8',
  })
  expect(output.split('\n')).toEqual([
    'Explain: artificial intelligence Machines that learn.',
    '  openai.chat.completion ',
    '  chat_model.llm langchain-demo',
    '  explain.session ',
    '',
  ])
})
