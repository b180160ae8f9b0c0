// What is otherwise between two lists of lines: the longest common subsequence, within bounds.

const MOST_CELLS = 2_000_000;

/** Return [kind, line] pairs: " " in both, "-" only in the first, "+" only in the second. */
export function differences(first, second) {
  let start = 0;
  while (start < first.length && start < second.length && first[start] === second[start]) start += 1;
  let end = 0;
  while (
    end < first.length - start &&
    end < second.length - start &&
    first[first.length - 1 - end] === second[second.length - 1 - end]
  )
    end += 1;
  const a = first.slice(start, first.length - end);
  const b = second.slice(start, second.length - end);
  const same = (line) => [" ", line];
  return [...first.slice(0, start).map(same), ...middle(a, b), ...first.slice(first.length - end).map(same)];
}

function middle(a, b) {
  // Beyond this a table would take too long: all of one, then all of the other.
  if (a.length * b.length > MOST_CELLS) return [...a.map((line) => ["-", line]), ...b.map((line) => ["+", line])];
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1)
      common[i * width + j] =
        a[i] === b[j]
          ? common[(i + 1) * width + j + 1] + 1
          : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
  const found = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      found.push([" ", a[i]]);
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      found.push(["-", a[i]]);
      i += 1;
    } else {
      found.push(["+", b[j]]);
      j += 1;
    }
  }
  return found;
}
