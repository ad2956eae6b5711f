import { Annotation, END, START, StateGraph } from '@langchain/langgraph'
import type { ChatOpenAI } from '@langchain/openai'

const State = Annotation.Root({
  topic: Annotation<string>,
  draft: Annotation<string>,
  verdict: Annotation<string>,
  rounds: Annotation<number | undefined>,
})

/** A writer and a critic, who sends a draft back once. */
export async function write(model: ChatOpenAI, topic: string): Promise<string> {
  const graph = new StateGraph(State)
    .addNode('writer', async ({ topic: about, rounds = 0 }) => {
      const draft = await model.invoke(`Write one line about ${about}, draft ${rounds + 1}.`)
      return { draft: draft.text, rounds: rounds + 1 }
    })
    .addNode('critic', async ({ draft }) => ({ verdict: (await model.invoke(`Is it good? ${draft}`)).text }))
    .addEdge(START, 'writer')
    .addEdge('writer', 'critic')
    .addConditionalEdges('critic', ({ verdict }) => (verdict === 'yes' ? END : 'writer'))
    .compile()
  const { draft } = await graph.invoke({ topic })
  return draft
}
