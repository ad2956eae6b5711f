import { openStore } from '../src/index.ts'
import { storeContract } from './contract.ts'

storeContract('memory:', () => openStore('memory:'))
