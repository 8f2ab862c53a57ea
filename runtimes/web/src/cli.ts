#!/usr/bin/env node
/** `node dist/cli.js generate PROMPT --model DIR`: errors become a line on stderr and an exit code. */

import { main } from './node/command.js';

process.exitCode = await main(process.argv.slice(2));
