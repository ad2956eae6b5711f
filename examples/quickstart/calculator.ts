/** Calculates an expression of numbers, `+ - * /` and parentheses. @throws RangeError for anything else */
export function calculate(expression: string): number {
  const tokens = expression.match(/\d+\.?\d*|\S/g) ?? []
  const fail = (): never => {
    throw new RangeError(`"${expression}" is not an expression of numbers, + - * / and parentheses.`)
  }

  function sum(): number {
    let value = product()
    while (tokens[0] === '+' || tokens[0] === '-') value += tokens.shift() === '+' ? product() : -product()
    return value
  }
  function product(): number {
    let value = factor()
    while (tokens[0] === '*' || tokens[0] === '/') {
      if (tokens.shift() === '*') value *= factor()
      else value /= factor()
    }
    return value
  }
  function factor(): number {
    const token = tokens.shift()
    if (token === '-') return -factor()
    if (token === '(') {
      const value = sum()
      return tokens.shift() === ')' ? value : fail()
    }
    return token !== undefined && /^\d/.test(token) ? Number(token) : fail()
  }

  const value = sum()
  return tokens.length === 0 && Number.isFinite(value) ? value : fail()
}
