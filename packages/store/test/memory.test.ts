import { openStore } from '../src/index.ts'
import { lifecycleContract } from './contract-lifecycle.ts'
import { orderedContract, storeContract } from './contract.ts'

storeContract('memory:', (options) => openStore('memory:', options))
lifecycleContract('memory:', (options) => openStore('memory:', options))
orderedContract('memory:', () => openStore('memory:'))
