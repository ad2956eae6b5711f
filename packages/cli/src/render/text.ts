export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan'

/** Colours a text, or leaves it as it is where nobody would see colours. */
export type Paint = (style: Style, text: string) => string

/** Characters that take two columns: East Asian wide and fullwidth ones, and pictures. */
const WIDE =
  /\p{Extended_Pictographic}|[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6]|[\u{1f1e6}-\u{1f1ff}\u{20000}-\u{3fffd}]/u
const INVISIBLE = /^[\p{Mn}\p{Me}\p{Cf}]+$/u
/** Whatever could move the cursor, colour the terminal or turn the text around. */
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]+/gu

const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' })

function widthOf(character: string): number {
  if (INVISIBLE.test(character)) return 0
  return WIDE.test(character) ? 2 : 1
}

/** The columns that `text` takes on a terminal. */
export function width(text: string): number {
  let columns = 0
  for (const { segment } of segmenter.segment(text)) columns += widthOf(segment)
  return columns
}

/** `text` on one line, cut to `columns`. However long it is, only its beginning is looked at. */
export function oneLine(text: string, columns: number): string {
  // A grapheme may be many code units; what is cut away here is too far right to be seen all the same.
  const start = text.slice(0, columns * 8 + 64)
  const line = start.replaceAll(CONTROL, ' ').trim().replaceAll(/ {2,}/g, ' ')
  if (start.length === text.length && width(line) <= columns) return line
  let kept = ''
  let used = 0
  for (const { segment } of segmenter.segment(line)) {
    used += widthOf(segment)
    if (used > columns - 1) break
    kept += segment
  }
  return columns < 1 ? '' : `${kept.trimEnd()}…`
}

/** Rows as columns, padded; the last one as it is. Columns named in `right` are flush right. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const columns = Math.max(0, ...rows.map((row) => row.length))
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => width(row[column] ?? ''))),
  )
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const space = ' '.repeat((widths[column] ?? 0) - width(cell))
        if (right.includes(column)) return space + cell
        return column === row.length - 1 ? cell : cell + space
      })
      .join('  ')
      .trimEnd(),
  )
}

/** Seconds for people: `3 ms`, `1.25 s`, `2 min 5 s`. */
export function duration(seconds: number): string {
  if (seconds < 0.9995) return `${Math.max(0, Math.round(seconds * 1000))} ms`
  if (seconds < 59.995) return `${seconds.toFixed(2)} s`
  const whole = Math.round(seconds)
  return whole < 3600
    ? `${Math.floor(whole / 60)} min ${whole % 60} s`
    : `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

/** A reward or score without the noise of binary fractions. */
export function number(value: number): string {
  return String(Number(value.toPrecision(6)))
}
