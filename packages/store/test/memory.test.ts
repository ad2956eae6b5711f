import { openStore } from '../src/index.ts'
import { storeContract } from './contract.ts'

storeContract('memory:', (options) => openStore('memory:', options), { ordered: true })
