import { definePlugin, type Lightning, type PluginApi } from '@agl/core'

/** The api that a plugin gets, for measuring it by itself. */
export async function runtimeApi(lightning: Lightning): Promise<PluginApi> {
  let api: PluginApi | undefined
  await lightning.use(
    definePlugin({
      name: 'bench',
      setup(given) {
        api = given
      },
    }),
  )
  if (api === undefined) throw new Error('the plugin was not set up')
  return api
}
