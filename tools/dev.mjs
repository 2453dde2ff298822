// Runs the command line from its TypeScript sources: `npm run dev -- run ...`. Worker threads begin here as well,
// and a thread does not inherit tsx's loader, so each registers it anew.
import { register } from 'tsx/esm/api';

register();
const { start } = await import('../src/cli.ts');
start(new URL(import.meta.url));
