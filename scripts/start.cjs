// `npm start`: builds what is not built yet, then runs the demonstration with the arguments given.
//
// ES5, as toolchain.cjs is, until the toolchain was checked.
'use strict'

var path = require('path')

var root = path.join(__dirname, '..')
require('./toolchain.cjs').requireToolchain(root)
require('./build.cjs').start(root, process.argv.slice(2))
