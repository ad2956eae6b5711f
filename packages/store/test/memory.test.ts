import { openStore } from '../src/index.ts'
import { lifecycleContract } from './contract-lifecycle.ts'
import { storeContract } from './contract.ts'

storeContract('memory:', (options) => openStore('memory:', options), { ordered: true })
lifecycleContract('memory:', (options) => openStore('memory:', options))
