import { join } from 'node:path'
import { openStore } from '../src/index.ts'
import { lifecycleContract } from './contract-lifecycle.ts'
import { orderedContract, storeContract } from './contract.ts'
import { folder } from './folder.ts'

storeContract('sqlite:', (options) => openStore(`sqlite:${join(folder(), 'agl.db')}`, options))
lifecycleContract('sqlite:', (options) => openStore(`sqlite:${join(folder(), 'agl.db')}`, options))
orderedContract('sqlite:', () => openStore(`sqlite:${join(folder(), 'agl.db')}`))
