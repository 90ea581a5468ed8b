// Package evidence is the vocabulary of helmproof: digests, artifacts,
// findings, controls, profiles, waivers and verdicts. Every other package
// speaks it, so it imports the standard library only.
package evidence
