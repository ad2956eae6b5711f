import { cpus } from 'node:os'
import { benchImport } from './import.ts'
import { benchLangChain } from './langchain.ts'
import { benchActivity, benchNotListening, benchOpenAI } from './openai.ts'

console.log(`${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
await benchActivity()
await benchOpenAI()
await benchNotListening()
await benchLangChain()
benchImport()
