import { packageConfig } from '../../scripts/tsup.ts'

// `agl demo` runs the example as it is, so it is published with the command.
export default packageConfig({ quickstart: '../../examples/quickstart/index.ts' })
