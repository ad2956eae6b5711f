import { openStore } from '../src/index.ts'
import { lifecycleContract } from './contract-lifecycle.ts'
import { storeContract } from './contract.ts'
import { postgresURL } from './postgres.ts'

storeContract('postgres:', async (options) => openStore(await postgresURL(), options), { ordered: false })
lifecycleContract('postgres:', async (options) => openStore(await postgresURL(), options))
