/** What `agl demo` runs as well. */
export { solve } from './agent.ts'
export { default as problems } from './problems.json' with { type: 'json' }
export { scriptedModel } from './scripted-model.ts'
