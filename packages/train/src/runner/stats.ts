import { availableParallelism, cpus, freemem, hostname, loadavg, platform, release, totalmem } from 'node:os'

const GB = 1024 ** 3
const round = (value: number): number => Math.round(value * 100) / 100

/** What a worker says about its machine, by the names that Agent Lightning's runners use. */
export function heartbeatStats(): Record<string, unknown> {
  const [load = 0] = loadavg()
  const used = totalmem() - freemem()
  return {
    timestamp: new Date().toISOString(),
    host: hostname(),
    os: `${platform()} ${release()}`,
    cpu_name: cpus()[0]?.model ?? '',
    cpu_threads: availableParallelism(),
    cpu_usage_pct: round(Math.min(100, (load / availableParallelism()) * 100)),
    mem_used_gb: round(used / GB),
    mem_total_gb: round(totalmem() / GB),
    mem_pct: round((used / totalmem()) * 100),
  }
}
