import { captureCases } from './capture-cases.ts'
import { hostCases } from './host-cases.ts'
import { lifeCases } from './life-cases.ts'
import { recordCases } from './record-cases.ts'
import type { ContractCase, ContractRunner, PluginContract } from './types.ts'

/** The promises that every plugin keeps, as cases for a runner of your own. */
export function pluginContract(contract: PluginContract): ContractCase[] {
  return [...recordCases(contract), ...hostCases(contract), ...lifeCases(contract), ...captureCases(contract)]
}

/**
 * Tests the promises that every plugin keeps: the host behaves as if the plugin were not there, each call is recorded
 * once and ended, content that is switched off stays out, and stopping undoes everything. The process must have no
 * running tracer, and the cases must run one after the other.
 *
 * @example
 * import { describe, it } from 'vitest'
 * runPluginContract({ describe, it, name: 'search', plugin: () => search({ client }), … })
 */
export function runPluginContract(options: PluginContract & ContractRunner): void {
  const { describe, it } = options
  describe(`the contract of the plugin "${options.name}"`, () => {
    for (const { name, run } of pluginContract(options)) it(name, run)
  })
}
