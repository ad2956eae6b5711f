import { checkPrograms } from './suite.ts'

checkPrograms('lowest')
