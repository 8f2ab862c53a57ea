export { sourceOf, engineFor } from '../node/platform.js';
