import type { DatasetFormat, ExportProgress } from '@agl/train'
import { codeOf, messageOf, usage } from '../errors.ts'
import { load, need } from '../packages.ts'
import { Progress } from '../progress.ts'
import { DEFAULT_STORE, openExisting } from '../store.ts'

export interface ExportCommandOptions {
  format: string | undefined
  store: string | undefined
  out: string | undefined
  minReward: number | undefined
}

const FORMATS: readonly DatasetFormat[] = ['triplets', 'messages', 'openai-chat', 'hf-chat', 'spans', 'otlp']
/** So many refused rollouts are named, the others counted. */
const NAMED = 5

/** Writes the store's rollouts as rows of a dataset. Exit code 1 where some could not be adapted; the others are written. */
export async function exportRuns(options: ExportCommandOptions): Promise<void> {
  const { format: asked, store: url, out, minReward } = options
  const known = `--format ${FORMATS.join(', ')}`.replace(/, (?=\w+$)/, ' or ')
  if (asked === undefined) throw usage(`Which format? Give ${known}.`)
  const format = FORMATS.find((one) => one === asked)
  if (format === undefined) throw usage(`There is no format "${asked}"; give ${known}.`)
  const folders = [process.cwd()]
  need(['@agl/core', '@agl/store', '@agl/train'], folders)
  const { exportDataset } = await load('@agl/train', folders)
  // A reader that has had enough, such as `head`, is no failure.
  process.stdout.on('error', (error) => {
    if (codeOf(error) !== 'EPIPE') throw error
    process.exit(0)
  })

  const progress = new Progress()
  let failed = 0
  const store = await openExisting(url ?? DEFAULT_STORE, folders)
  try {
    const result = await exportDataset(store, {
      format,
      ...(out === undefined ? {} : { out }),
      ...(minReward === undefined ? {} : { minReward }),
      onProgress: ({ rollouts, total, lines }) =>
        progress.update(`${number(rollouts)} of ${number(total)} rollouts, ${number(lines)} lines`),
      onFailure: (rolloutId, error) => {
        if (++failed > NAMED) return
        progress.done()
        console.error(
          `agl: ${rolloutId} is ${format === 'otlp' ? 'not whole' : 'left out'}: ${messageOf(error)}`,
        )
      },
    })
    progress.done()
    console.error(summary(result, format, out))
  } finally {
    progress.done()
    await store.close()
  }
  if (failed > 0) process.exitCode = 1
}

function summary(result: ExportProgress, format: DatasetFormat, out: string | undefined): string {
  const { rollouts, earlier, lines, failed, rejected, unfinished } = result
  const parts = [
    `${count(lines, out?.endsWith('.parquet') === true ? 'row' : 'line')} of ${format} from ${count(rollouts, 'rollout')}${out === undefined ? '' : ` in ${out}`}`,
  ]
  if (earlier > 0) parts.push(`${number(earlier)} ${earlier === 1 ? 'is' : 'are'} from an earlier export`)
  if (failed > 0) {
    const are = failed === 1 ? 'is' : 'are'
    const what = format === 'otlp' ? `${are} not whole` : `could not be adapted and ${are} left out`
    parts.push(`${number(failed)} ${what}`)
  }
  if (rejected > 0)
    parts.push(`${number(rejected)} ${rejected === 1 ? 'is' : 'are'} left out for want of reward`)
  if (unfinished > 0) {
    const again = out === undefined ? '' : '; export to the same file again when they have'
    parts.push(`${number(unfinished)} ${unfinished === 1 ? 'has' : 'have'} not ended${again}`)
  }
  return `agl: ${parts.join('; ')}`
}

function count(value: number, what: string): string {
  return `${number(value)} ${what}${value === 1 ? '' : 's'}`
}

function number(value: number): string {
  return value.toLocaleString('en')
}
