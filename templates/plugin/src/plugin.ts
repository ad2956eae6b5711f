import { type Activity, definePlugin, type Plugin } from '@agl/core'
import { searchData, searchStart } from './map.ts'
import type { TemplateOptions } from './types.ts'

/** Ends the activity when the host's promise settles. The caller keeps the host's own promise, not one chained to it. */
function endWith(answer: unknown, activity: Activity<'retriever'>): void {
  Promise.resolve(answer).then(
    (value) => activity.end(searchData(value)),
    (error: unknown) => activity.fail(error),
  )
}

/**
 * Records each search of the given clients as a `retriever` span with the query and what was found.
 *
 * @example
 * const lightning = await start({ plugins: [template({ clients: [client] })] })
 */
export const template = (options: TemplateOptions): Plugin =>
  definePlugin({
    name: 'template',
    setup(api) {
      for (const client of options.clients) {
        api.patch(client, 'search', (search) => {
          return function (this: unknown, ...args: unknown[]): unknown {
            if (!api.recording()) return Reflect.apply(search, this, args)
            const activity = api.activity('retriever', searchStart(args))
            try {
              const answer: unknown = activity.run(() => Reflect.apply(search, this, args))
              endWith(answer, activity)
              return answer
            } catch (error) {
              activity.fail(error)
              throw error
            }
          }
        })
      }
    },
  })
