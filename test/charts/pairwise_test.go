package charts

import (
	"slices"
	"testing"
)

// option is one position of a switch: the values that it sets.
type option struct {
	name, values string
}

// pair is two options of different switches, by index: switch, option.
type pair [2][2]int

// pairwise returns rows, one option index per switch, such that every pair of
// options that conflict accepts appears in some row, and no row holds a
// conflicting pair. It is greedy: each row starts with a pair that is still
// missing, and each further switch takes the option that covers most.
func pairwise(sizes []int, conflict func(pair) bool) (rows [][]int, uncovered []pair) {
	missing := map[pair]bool{}
	var order []pair
	for i := range sizes {
		for j := i + 1; j < len(sizes); j++ {
			for a := range sizes[i] {
				for b := range sizes[j] {
					if p := (pair{{i, a}, {j, b}}); !conflict(p) {
						missing[p] = true
						order = append(order, p)
					}
				}
			}
		}
	}
	ordered := func(x, y [2]int) pair {
		if x[0] > y[0] {
			x, y = y, x
		}
		return pair{x, y}
	}
	for _, start := range order {
		if !missing[start] {
			continue
		}
		row := slices.Repeat([]int{-1}, len(sizes))
		row[start[0][0]], row[start[1][0]] = start[0][1], start[1][1]
		for i := range sizes {
			if row[i] >= 0 {
				continue
			}
			best, most := -1, -1
			for a := range sizes[i] {
				covers := 0
				for j, b := range row {
					if b < 0 {
						continue
					}
					p := ordered([2]int{i, a}, [2]int{j, b})
					if conflict(p) {
						covers = -1
						break
					}
					if missing[p] {
						covers++
					}
				}
				if covers > most {
					best, most = a, covers
				}
			}
			row[i] = best
		}
		if slices.Contains(row, -1) { // its other switches leave no way: said, not dropped
			uncovered = append(uncovered, start)
			delete(missing, start)
			continue
		}
		rows = append(rows, row)
		for i, a := range row {
			for j := i + 1; j < len(row); j++ {
				delete(missing, pair{{i, a}, {j, row[j]}})
			}
		}
	}
	return rows, uncovered
}

func TestPairwise(t *testing.T) {
	t.Parallel()
	sizes := []int{4, 3, 2, 5, 2}
	conflict := func(p pair) bool { return p == pair{{0, 1}, {3, 2}} }
	rows, uncovered := pairwise(sizes, conflict)
	if len(uncovered) > 0 || len(rows) < 19 || len(rows) > 40 {
		t.Errorf("%d rows, %d pairs not covered", len(rows), len(uncovered))
	}
	seen := map[pair]bool{}
	for _, row := range rows {
		for i := range row {
			for j := i + 1; j < len(row); j++ {
				seen[pair{{i, row[i]}, {j, row[j]}}] = true
			}
		}
	}
	want := 0
	for i := range sizes {
		for j := i + 1; j < len(sizes); j++ {
			want += sizes[i] * sizes[j]
		}
	}
	if len(seen) != want-1 || seen[pair{{0, 1}, {3, 2}}] {
		t.Errorf("%d pairs covered, want %d", len(seen), want-1)
	}
}
