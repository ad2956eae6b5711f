import { StringOutputParser } from '@langchain/core/output_parsers'
import { ChatPromptTemplate } from '@langchain/core/prompts'
import type { ChatOpenAI } from '@langchain/openai'

/** A prompt, a model and a parser. */
export async function translate(model: ChatOpenAI, text: string): Promise<string> {
  const prompt = ChatPromptTemplate.fromMessages([
    ['system', 'You translate into {language}.'],
    ['human', '{text}'],
  ])
  const chain = prompt.pipe(model).pipe(new StringOutputParser())
  return chain.invoke({ language: 'French', text })
}
