import { readFileSync } from 'node:fs'
import ts from 'typescript'

/** One import of a module: `type` disappears when types are stripped, `dynamic` is loaded when it is reached. */
export interface Import {
  readonly specifier: string
  readonly kind: 'static' | 'dynamic' | 'type'
}

function literal(node: ts.Node | undefined): string | undefined {
  return node !== undefined && ts.isStringLiteralLike(node) ? node.text : undefined
}

function importOf(node: ts.Node): Import | undefined {
  const found = (specifier: string | undefined, kind: Import['kind']): Import | undefined =>
    specifier === undefined ? undefined : { specifier, kind }
  if (ts.isImportDeclaration(node)) {
    const typeOnly = node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
    return found(literal(node.moduleSpecifier), typeOnly ? 'type' : 'static')
  }
  if (ts.isExportDeclaration(node))
    return found(literal(node.moduleSpecifier), node.isTypeOnly ? 'type' : 'static')
  if (ts.isImportTypeNode(node)) {
    return found(literal(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined), 'type')
  }
  if (!ts.isCallExpression(node)) return undefined
  const { expression } = node
  const dynamic = expression.kind === ts.SyntaxKind.ImportKeyword
  const required = ts.isIdentifier(expression) && expression.text === 'require'
  return dynamic || required ? found(literal(node.arguments[0]), 'dynamic') : undefined
}

/** Every import in a TypeScript or JavaScript file whose specifier is written out. */
export function importsOf(file: string): Import[] {
  const imports: Import[] = []
  const visit = (node: ts.Node): void => {
    const found = importOf(node)
    if (found !== undefined) imports.push(found)
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true))
  return imports
}

/** The package that a specifier names (`@agl/core/semconv` → `@agl/core`); undefined for files and Node's own modules. */
export function packageOf(specifier: string): string | undefined {
  if (/^(\.|\/|node:)/.test(specifier)) return undefined
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}
