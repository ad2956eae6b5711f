import type { Callbacks } from '@langchain/core/callbacks/manager'
import type { Hosts } from '../hosts.ts'

export interface Given {
  h: Hosts
  /** The program passes it to what it calls first, and to nothing else. */
  config: { callbacks?: Callbacks }
  /** Records `fn` as an operation of the program's own, where anything is recorded. */
  span: <T>(name: string, fn: () => T | Promise<T>) => Promise<T>
}

/** A program, and what is recorded of it. */
export interface Program {
  name: string
  run(given: Given): Promise<unknown>
  /**
   * The spans in a trace's root, one a line, each indented under its parent: `!` marks an error, `~` what was cut, and
   * how, `@` the name of an agent.
   */
  tree: string | { latest: string; lowest: string }
  /** What is to be expected of the result. */
  result?: RegExp
  /** The version of LangChain that can do this, where not both can. */
  only?: 'latest' | 'lowest'
}
