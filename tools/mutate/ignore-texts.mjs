// What Stryker leaves alone: texts in errors that name nothing. They are for people; no test should know them by heart.
// A text with a `${name}` in it is changed, for a test should see that the thing is named.
import { declareValuePlugin, PluginKind } from '@stryker-mutator/api/plugin';

const isText = (path) => path.isStringLiteral() || (path.isTemplateLiteral() && path.node.expressions.length === 0);

const makesError = ({ node }) =>
  (node.type === 'NewExpression' && /Error$/.test(node.callee.name ?? '')) ||
  (node.type === 'CallExpression' && node.callee.type === 'Super');

export const strykerPlugins = [
  declareValuePlugin(PluginKind.Ignore, 'texts-of-errors', {
    shouldIgnore(path) {
      if (!isText(path)) return undefined;
      let outer = path.parentPath;
      while (outer?.isBinaryExpression({ operator: '+' }) || outer?.isConditionalExpression()) outer = outer.parentPath;
      return outer != null && makesError(outer) ? 'a text for people' : undefined;
    },
  }),
];
