// `npm test`: builds what is not built yet, then runs every test there is and sums them up.
//
// ES5, as toolchain.cjs is, until the toolchain was checked.
'use strict'

var path = require('path')

var root = path.join(__dirname, '..')
require('./toolchain.cjs').requireToolchain(root)
require('./test-stages.cjs').run(root, process.argv.slice(2))
