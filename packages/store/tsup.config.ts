import { packageConfig } from '../../scripts/tsup.ts'

export default packageConfig({ worker: 'src/sqlite/worker.ts', 'last-words': 'src/last-words.ts' })
