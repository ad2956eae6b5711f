/*
 * Python's literals as `ast.literal_eval` reads them, as far as token ids are concerned: LiteLLM records what a server
 * answered as the text of Python's `repr`.
 */

/** A value that is neither text, boolean, whole number, None, list nor map: a float, bytes, a tuple, a set, `...`. */
class Other {
  readonly kind: 'number' | 'bytes' | 'tuple' | 'set' | 'ellipsis'
  readonly hashable: boolean
  constructor(kind: Other['kind'], hashable = true) {
    this.kind = kind
    this.hashable = hashable
  }
}

export type Literal = string | number | boolean | null | Literal[] | Map<unknown, Literal> | Other

const NAMES: Readonly<Record<string, Literal>> = { None: null, True: true, False: false }

/** Of texts, only how they begin: what repeats an alternative takes stack for each character. */
const TOKEN = new RegExp(
  [
    String.raw`(?<skip>[ \t\f\r\n]+|\\\r?\n|#[^\r\n]*)`,
    String.raw`(?<prefix>[rR]?[bB]|[bB]?[rR]|[uU])?(?<quote>"""|'''|"|')`,
    String.raw`(?<number>0[xX](?:_?[0-9a-fA-F]+)+|0[bB](?:_?[01]+)+|0[oO](?:_?[0-7]+)+|(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:[eE][-+]?\d+(?:_\d+)*)?[jJ]?)`,
    String.raw`(?<word>[A-Za-z_]\w*)`,
    String.raw`(?<sign>\.\.\.|[-+()[\]{},:])`,
  ].join('|'),
  'y',
)
/** Python reads no more brackets in one another. */
const DEEPEST = 200

interface Token {
  kind: 'text' | 'number' | 'word' | 'sign'
  /** What stands between the quotes of a text. */
  text: string
  /** Of a text: the letters before it. */
  prefix?: string
}

/** Undefined where the text is no literal. */
export function parseLiteral(text: string): Literal | undefined {
  if (text.includes('\0')) return undefined
  try {
    return new Reader(tokenize(text.replace(/^[ \t]+/, ''))).all()
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return undefined
    throw error
  }
}

function fail(): never {
  throw new SyntaxError('no literal')
}

function tokenize(source: string): Token[] {
  const tokens: Token[] = []
  let depth = 0
  let isOver = false
  TOKEN.lastIndex = 0
  for (let end = 0; end < source.length; end = TOKEN.lastIndex) {
    const groups = TOKEN.exec(source)?.groups
    if (groups === undefined) fail()
    const { skip, prefix = '', quote, number, word, sign } = groups
    if (skip !== undefined) {
      // Outside of brackets a line break ends the expression; only blank lines may follow.
      if (depth === 0 && tokens.length > 0 && skip[0] !== '\\' && /[\r\n]/.test(skip)) isOver = true
      continue
    }
    if (isOver) fail()
    if (quote !== undefined) {
      const start = TOKEN.lastIndex
      const close = closeOf(source, start, quote)
      tokens.push({ kind: 'text', text: source.slice(start, close), prefix })
      TOKEN.lastIndex = close + quote.length
    } else if (number !== undefined) tokens.push({ kind: 'number', text: number })
    else if (word !== undefined) tokens.push({ kind: 'word', text: word })
    else if (sign !== undefined) {
      if ('([{'.includes(sign) && ++depth > DEEPEST) fail()
      if (')]}'.includes(sign)) depth--
      tokens.push({ kind: 'sign', text: sign })
    }
  }
  return tokens
}

/** Where the quote stands that ends the text which begins at `start`. */
function closeOf(source: string, start: number, quote: string): number {
  for (let i = start; i < source.length; i++) {
    const char = source[i]
    if (char === '\\') i++
    else if (char === quote[0] && source.startsWith(quote, i)) return i
    else if (quote.length === 1 && (char === '\n' || char === '\r')) fail()
  }
  return fail()
}

class Reader {
  readonly #tokens: readonly Token[]
  #next = 0
  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
  }

  all(): Literal {
    const first = this.#sum()
    if (this.#next === this.#tokens.length) return first
    if (!this.#take(',')) fail()
    const rest = this.#items(undefined)
    return tuple([first, ...rest])
  }

  #take(sign: string): boolean {
    const token = this.#tokens[this.#next]
    if (token?.kind !== 'sign' || token.text !== sign) return false
    this.#next++
    return true
  }

  /** What stands before `close`, separated by commas; a last comma is allowed. */
  #items(close: string | undefined): Literal[] {
    const items: Literal[] = []
    const isOver = (): boolean =>
      close === undefined ? this.#next === this.#tokens.length : this.#take(close)
    while (!isOver()) {
      items.push(this.#sum())
      if (isOver()) break
      if (!this.#take(',')) fail()
    }
    return items
  }

  /** A value, or the two parts of a complex number. */
  #sum(): Literal {
    const left = this.#signed()
    if (!this.#take('+') && !this.#take('-')) return left
    const right = this.#tokens[this.#next++]
    const isReal = typeof left === 'number' || (left instanceof Other && left.kind === 'number')
    if (!isReal || right?.kind !== 'number' || !/[jJ]$/.test(right.text)) fail()
    return new Other('number')
  }

  #signed(): Literal {
    const minus = this.#take('-')
    const isSigned = minus || this.#take('+')
    if (!isSigned) return this.#value()
    const value = this.#tokens[this.#next]?.kind === 'number' ? this.#value() : this.#group()
    if (typeof value === 'number') return minus ? -value : value
    return value instanceof Other && value.kind === 'number' ? value : fail()
  }

  #group(): Literal {
    return this.#take('(') ? this.#parenthesis() : fail()
  }

  #value(): Literal {
    if (this.#take('[')) return this.#items(']')
    if (this.#take('(')) return this.#parenthesis()
    if (this.#take('{')) return this.#braces()
    if (this.#take('...')) return new Other('ellipsis')
    const token = this.#tokens[this.#next++]
    if (token?.kind === 'number') return numberOf(token.text)
    if (token?.kind === 'text') return this.#texts(token)
    if (token?.kind !== 'word') fail()
    if (token.text === 'set' && this.#take('(') && this.#take(')')) return new Other('set', false)
    const value = Object.hasOwn(NAMES, token.text) ? NAMES[token.text] : undefined
    return value === undefined ? fail() : value
  }

  #parenthesis(): Literal {
    if (this.#take(')')) return new Other('tuple')
    const first = this.#sum()
    if (this.#take(')')) return first
    if (!this.#take(',')) fail()
    return tuple([first, ...this.#items(')')])
  }

  #braces(): Literal {
    const map = new Map<unknown, Literal>()
    if (this.#take('}')) return map
    const first = this.#sum()
    if (!this.#take(':')) {
      if (!this.#take('}')) {
        if (!this.#take(',')) fail()
        if (!this.#items('}').every(isHashable)) fail()
      }
      return isHashable(first) ? new Other('set', false) : fail()
    }
    for (let key = first; ;) {
      if (!isHashable(key)) fail()
      map.set(key, this.#sum())
      if (this.#take('}')) return map
      if (!this.#take(',')) fail()
      if (this.#take('}')) return map
      key = this.#sum()
      if (!this.#take(':')) fail()
    }
  }

  /** Texts that stand side by side are one. */
  #texts(first: Token): Literal {
    const parts = [first]
    for (let next = this.#tokens[this.#next]; next?.kind === 'text'; next = this.#tokens[++this.#next])
      parts.push(next)
    const bytes = parts.filter(({ prefix = '' }) => /b/i.test(prefix)).length
    if (bytes === 0) return parts.map(textOf).join('')
    return bytes === parts.length ? new Other('bytes') : fail()
  }
}

function isHashable(value: Literal): boolean {
  if (value instanceof Other) return value.hashable
  return !Array.isArray(value) && !(value instanceof Map)
}

function tuple(items: readonly Literal[]): Other {
  return new Other('tuple', items.every(isHashable))
}

function numberOf(text: string): Literal {
  const digits = text.replaceAll('_', '')
  if (/^0[xXbBoO]/.test(digits)) return Number(digits)
  if (!/^\d+$/.test(digits)) return new Other('number')
  return /^0+[1-9]/.test(digits) ? fail() : Number(digits)
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: '\u0007',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\n': '',
  '\r\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
}

function textOf({ text, prefix = '' }: Token): string {
  if (/r/i.test(prefix)) return text
  return text.replace(/\\(\r\n|[0-7]{1,3}|x[^]{0,2}|u[^]{0,4}|U[^]{0,8}|[^])/g, (whole, escape: string) => {
    if (/^[0-7]/.test(escape)) return String.fromCodePoint(Number.parseInt(escape, 8))
    if (!/^[xuU]/.test(escape)) return ESCAPES[escape] ?? whole
    const length = { x: 2, u: 4, U: 8 }[escape.charAt(0)] ?? 0
    if (!new RegExp(`^.[0-9a-fA-F]{${length}}$`).test(escape)) fail()
    return String.fromCodePoint(Number.parseInt(escape.slice(1), 16))
  })
}
