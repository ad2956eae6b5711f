import ts from 'typescript'

/** A form in which users write a program that the documents show as TypeScript. */
export interface Variant {
  readonly name: string
  rename(file: string): string
  convert(code: string): string
}

const rename = (ending: string) => (file: string) => file.replace(/\.ts$/, ending)

export const asTypeScript: Variant = { name: 'TypeScript', rename: (file) => file, convert: (code) => code }

export const asESM: Variant = {
  name: 'ESM',
  rename: rename('.mjs'),
  convert: (code) => transpile(withEnding('.mjs')(code), ts.ModuleKind.ESNext),
}

export const asCommonJS: Variant = {
  name: 'CommonJS',
  rename: rename('.cjs'),
  convert(code) {
    const outputText = transpile(withEnding('.cjs')(code), ts.ModuleKind.CommonJS)
    // CommonJS has no top-level await, so its users write an async function; the exports must be there at once.
    return /^\s*(export|module)\b/m.test(code) ? outputText : `(async () => {\n${outputText}\n})()\n`
  },
}

function transpile(code: string, module: ts.ModuleKind): string {
  const compilerOptions = { module, target: ts.ScriptTarget.ES2023, esModuleInterop: true }
  return ts.transpileModule(code, { compilerOptions }).outputText
}

/** Relative imports name the file of the same variant. */
function withEnding(ending: string): (code: string) => string {
  return (code) => code.replaceAll(/(['"]\.{1,2}\/[\w./-]+)\.ts(['"])/g, `$1${ending}$2`)
}
