/**
 * Rows of cells, as text.
 */

function padded(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  return rows.map((row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))),
  )
}

/** For the terminal: lines. The first row is the head, the first column is aligned to the left. */
export function aligned(rows) {
  return padded(rows).map((row) => `  ${row.join('  ')}`.trimEnd())
}

/** The same in Markdown. */
export function markdownTable(rows) {
  const [head, ...rest] = padded(rows)
  const line = (cells) => `| ${cells.join(' | ')} |`
  const rule = head.map((cell, column) => (column === 0 ? '-' : '-:').padStart(Math.max(cell.length, 2), '-'))
  return [line(head), line(rule), ...rest.map(line)].join('\n')
}
