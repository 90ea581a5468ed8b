// Package drill is what a drill is, as values: the plan, the timeline of what was
// seen, and what follows from both. It does no I/O; the collectors that run drills
// seal these values, and derive their findings from them.
package drill
