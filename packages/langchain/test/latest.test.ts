import { checkPrograms } from './suite.ts'

checkPrograms('latest')
