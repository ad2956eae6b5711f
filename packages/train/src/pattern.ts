import { AglError } from '@agl/core'

/**
 * A pattern to search names with. A text is read as Python's `re` reads it, where that differs and is in common use: `$`
 * before a last line break, `\A`, `\Z`, `(?P<name>…)`, `(?P=name)`, and flags at the front.
 *
 * @throws AglError `value_invalid` where it is no pattern
 */
export function toRegExp(pattern: string | RegExp): RegExp {
  // A global or sticky one would go on from where it last matched.
  if (typeof pattern !== 'string') return new RegExp(pattern, pattern.flags.replace(/[gy]/g, ''))
  const [front = '', letters = ''] = /^\(\?([imsau]+)\)/.exec(pattern) ?? []
  const flags = letters.replace(/[au]/g, '')
  const source = fromPython(pattern.slice(front.length), flags)
  // Without `u`, JavaScript is as lenient as Python about needless backslashes and lone braces.
  for (const unicode of ['u', '']) {
    try {
      return new RegExp(source, flags + unicode)
    } catch {
      // Tried again, or refused below.
    }
  }
  throw new AglError('value_invalid', `The pattern ${JSON.stringify(pattern)} is no regular expression.`)
}

function fromPython(source: string, flags: string): string {
  let inClass = false
  return source.replace(/\\[^]|\(\?P=(\w+)\)|\(\?P<|\[\^?\]?|[\].$]/g, (token: string, name?: string) => {
    if (inClass) {
      inClass = !/^[^\\]*\]$/.test(token)
      return token
    }
    if (token.startsWith('[')) {
      inClass = true
      // A bracket that comes first is one of the characters.
      return token.replace(']', '\\]')
    }
    if (token === '\\A') return '(?<![^])'
    if (token === '\\Z') return '(?![^])'
    if (token === '.') return flags.includes('s') ? token : '[^\\n]'
    if (token === '$') return flags.includes('m') ? '(?=\\n|(?![^]))' : '(?=\\n?(?![^]))'
    if (name !== undefined) return `\\k<${name}>`
    return token === '(?P<' ? '(?<' : token
  })
}
