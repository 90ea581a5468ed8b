package bundle_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
)

// The insider holds the trusted key, edits, packs, renders and signs anew. Only
// the reasoning gives it away: the evidence does not support what is claimed.
func TestInsider(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	worker := func(c *bundle.Contents) *evidence.Finding {
		i := slices.IndexFunc(c.Findings, func(f evidence.Finding) bool { return f.Outcome == evidence.OutcomeFail })
		return &c.Findings[i]
	}
	for name, tt := range map[string]struct {
		edit          func(c *bundle.Contents)
		check, reason string
	}{
		"nothing edited": {func(*bundle.Contents) {}, "", ""},
		"verdict": {func(c *bundle.Contents) { c.Verdict.Outcome = evidence.VerdictPass },
			"verdict", "the evidence gives FAIL, the bundle says PASS"},
		"reason of the verdict": {func(c *bundle.Contents) { c.Verdict.Reason = "all is well" },
			"verdict", "the evidence gives other results per control"},
		"result of a control": {func(c *bundle.Contents) { c.Verdict.Results[0].Outcome = evidence.ControlPass },
			"verdict", "the evidence gives other results per control"},
		"result of an optional control": {func(c *bundle.Contents) { c.Verdict.Results[2].Outcome = evidence.ControlPass },
			"verdict", "the evidence gives other results per control"},
		"result removed": {func(c *bundle.Contents) { c.Verdict.Results = c.Verdict.Results[1:] },
			"verdict", "the evidence gives other results per control"},
		"outcome of a finding": {func(c *bundle.Contents) { worker(c).Outcome = evidence.OutcomePass; decide(t, c) },
			"findings", "the artifacts show another outcome or text for a finding: lines/res-1, Deployment worker, sealed as pass"},
		"severity of a finding": {func(c *bundle.Contents) { worker(c).Severity = evidence.SeverityInfo; decide(t, c) },
			"findings", "another outcome or text for a finding: lines/res-1, Deployment worker"},
		"controls of a finding": {func(c *bundle.Contents) { worker(c).Controls = []evidence.ControlID{"IMG-1"}; decide(t, c) },
			"findings", "another outcome or text for a finding: lines/res-1, Deployment worker"},
		"finding removed": {func(c *bundle.Contents) {
			c.Findings = slices.DeleteFunc(c.Findings, func(f evidence.Finding) bool { return f.Outcome == evidence.OutcomeFail })
			decide(t, c)
		}, "findings", "the artifacts show a finding that is not in the bundle: lines/res-1, Deployment worker, fail"},
		"all findings removed": {func(c *bundle.Contents) { c.Findings = nil; decide(t, c) },
			"findings", "the artifacts show a finding that is not in the bundle"},
		"finding added": {func(c *bundle.Contents) {
			f := *worker(c)
			f.Outcome, f.Message = evidence.OutcomePass, "has requests"
			c.Findings = evidence.NormalizeFindings(append(c.Findings, f))
			decide(t, c)
		}, "findings", "the bundle holds a finding that its artifacts do not show: lines/res-1, Deployment worker, pass"},
		"finding repeated": {func(c *bundle.Contents) { c.Findings = append(c.Findings, c.Findings[len(c.Findings)-1]); decide(t, c) },
			"findings", "not in the order, or not as many"},
		"findings in another order": {func(c *bundle.Contents) { slices.Reverse(c.Findings) }, "findings", "not in the order, or not as many"},
		"artifact": {func(c *bundle.Contents) {
			c.Files[artifactOf("lines")] = bytes.Replace(c.Files[artifactOf("lines")], []byte("RES-1 fail worker"), []byte("RES-1 pass worker"), 1)
		}, "findings", "another outcome or text for a finding"},
		"line of an artifact removed": {func(c *bundle.Contents) {
			raw := c.Files[artifactOf("lines")]
			c.Files[artifactOf("lines")] = raw[:bytes.LastIndex(raw[:len(raw)-1], []byte("\n"))+1]
		}, "findings", "another outcome or text for a finding"},
		"artifact removed": {func(c *bundle.Contents) { delete(c.Files, artifactOf("lines")) },
			"findings", "deriving the findings of collector lines again ends in error"},
		"artifact that cannot be read": {func(c *bundle.Contents) { c.Files[artifactOf("lines")] = []byte("nonsense") },
			"findings", "derive the findings again: artifacts/lines/seen.txt line 1"},
		"profile loosened": {func(c *bundle.Contents) {
			c.Files[bundle.ProfileFile] = bytes.Replace(c.Files[bundle.ProfileFile], []byte("failOn: medium"), []byte("failOn: critical"), 1)
		},
			"verdict", "the bundle says FAIL"},
		"control made optional": {func(c *bundle.Contents) {
			c.Files[bundle.ProfileFile] = bytes.Replace(c.Files[bundle.ProfileFile], []byte("- id: RES-1\n"), []byte("- id: RES-1\n    optional: true\n"), 1)
		},
			"verdict", "the bundle says FAIL"},
		"profile loosened, its digest kept": {func(c *bundle.Contents) {
			was := c.Verdict.ProfileDigest
			c.Files[bundle.ProfileFile] = bytes.Replace(c.Files[bundle.ProfileFile], []byte("failOn: medium"), []byte("failOn: critical"), 1)
			decide(t, c)
			c.Verdict.ProfileDigest = was
		}, "verdict", "the evidence gives other results per control"},
		"profile that cannot be read": {func(c *bundle.Contents) { c.Files[bundle.ProfileFile] = []byte("name: [") }, "verdict", "profile.yaml: "},
		"catalog edited": {func(c *bundle.Contents) {
			c.Files[bundle.CatalogFile] = bytes.Replace(c.Files[bundle.CatalogFile], []byte("collector: images"), []byte("collector: lines"), 1)
		},
			"verdict", "the evidence gives other results per control"},
		"catalog that cannot be read": {func(c *bundle.Contents) { c.Files[bundle.CatalogFile] = nil }, "verdict", "catalog.yaml: "},
		"waiver added":                {func(c *bundle.Contents) { c.Files[bundle.WaiversFile] = []byte(waiverYAML) }, "verdict", "the evidence gives PASS, the bundle says FAIL"},
		"waiver removed": {func(c *bundle.Contents) {
			c.Files[bundle.WaiversFile] = []byte(waiverYAML)
			decide(t, c)
			c.Files[bundle.WaiversFile] = nil
		}, "verdict", "the evidence gives FAIL, the bundle says PASS"},
		"waivers that cannot be read": {func(c *bundle.Contents) { c.Files[bundle.WaiversFile] = []byte("waivers: 3") }, "verdict", "waivers.yaml: "},
		"time of the verdict, past a waiver's end": {func(c *bundle.Contents) {
			c.Files[bundle.WaiversFile] = []byte(waiverYAML)
			decide(t, c)
			c.Verdict.EvaluatedAt = evaluatedAt.AddDate(10, 0, 0)
		}, "verdict", "the evidence gives FAIL, the bundle says PASS"},
		"failed collector called passed": {func(c *bundle.Contents) {
			c.Runs.Collectors[0].Outcome, c.Runs.Collectors[0].Error = evidence.OutcomePass, ""
			decide(t, c)
		}, "findings", "deriving the findings of collector images again ends in error"},
		"failed collector, and its reason edited": {func(c *bundle.Contents) { c.Runs.Collectors[0].Error = "nothing of importance" },
			"verdict", "the evidence gives other results per control"},
		"failed collector left out": {func(c *bundle.Contents) { c.Runs.Collectors = c.Runs.Collectors[1:] },
			"verdict", "the evidence gives other results per control"},
		"collector left out, its findings kept": {func(c *bundle.Contents) { c.Runs.Collectors = c.Runs.Collectors[:1] },
			"findings", "the bundle holds a finding that its artifacts do not show"},
		"digest of the manifests": {func(c *bundle.Contents) {
			editRelease(t, c, func(r *evidence.Release) { r.ManifestsDigest = evidence.DigestOf([]byte("other")) })
		},
			"statement", "the sealed manifests differ from the rendered ones although nothing was redacted"},
		"digest of the sealed manifests": {func(c *bundle.Contents) {
			editRelease(t, c, func(r *evidence.Release) { r.SealedManifestsDigest = evidence.DigestOf([]byte("other")) })
		},
			"statement", "release.json says " + string(evidence.DigestOf([]byte("other")))},
		"manifests": {func(c *bundle.Contents) { c.Files["artifacts/release/manifests.yaml"] = []byte("kind: Other\n") },
			"statement", "the sealed manifests have digest " + string(evidence.DigestOf([]byte("kind: Other\n")))},
		"manifests removed": {func(c *bundle.Contents) { delete(c.Files, "artifacts/release/manifests.yaml") },
			"statement", `artifact "artifacts/release/manifests.yaml": file does not exist`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := contents(t, "api")
			tt.edit(c)
			p := seal(t, c, s)
			r := verifier(t, s).Verify(t.Context(), p.Files, p.ID)
			if tt.check == "" {
				wantOK(t, r)
				return
			}
			wantRefused(t, r, tt.check, tt.reason)
		})
	}
}

const waiverYAML = `waivers:
  - control: RES-1
    target: {kind: Deployment, name: worker}
    reason: moves next quarter
    approvedBy: somebody
    expiresAt: 2027-01-01T00:00:00Z
`

// What an insider can do: judge by another profile. The verdict then follows
// from the evidence, and says which profile it is, which `gate` does not take.
func TestInsiderJudgesByAnotherProfile(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	c := contents(t, "api")
	strict := c.Verdict.ProfileDigest
	c.Files[bundle.ProfileFile] = bytes.Replace(c.Files[bundle.ProfileFile], []byte("failOn: medium"), []byte("failOn: critical"), 1)
	decide(t, c)
	p := seal(t, c, s)
	r := verifier(t, s).Verify(t.Context(), p.Files, p.ID)
	wantOK(t, r)
	if v := r.Verified().Verdict(); v.Outcome != evidence.VerdictPass || v.ProfileDigest == strict || v.ProfileDigest != evidence.DigestOf(c.Files[bundle.ProfileFile]) {
		t.Errorf("verdict %s by profile %s", v.Outcome, v.ProfileDigest)
	}
}

// signedBy returns the statement in a bundle's signature file.
func signedBy(t testing.TB, s attest.Signer, p *bundle.Package, file, predicateType string, subject evidence.Digest) *attest.Statement {
	t.Helper()
	st, _, err := verifier(t, s).Trust.Verify(p.Files[file], predicateType, subject)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func sign(t testing.TB, s attest.Signer, st *attest.Statement) []byte {
	t.Helper()
	raw, err := s.Sign(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The insider signs statements by hand.
func TestInsiderSignsStatements(t *testing.T) {
	t.Parallel()
	s, second := newSigner(t), newSigner(t)
	c := contents(t, "api")
	sealed := seal(t, c, s)
	reports := func(files map[string][]byte) *attest.Statement {
		st := &attest.Statement{PredicateType: attest.ReportsType, Predicate: json.RawMessage(`{"evidence":"` + string(sealed.ID) + `"}`)}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if strings.HasPrefix(name, "report.") || strings.HasPrefix(name, "extra.") {
				st.Subjects = append(st.Subjects, attest.Subject{Name: name, Digest: evidence.DigestOf(files[name])})
			}
		}
		return st
	}
	edited := func(file, predicateType string, subject evidence.Digest, change func(*attest.Statement)) func(t *testing.T, f map[string][]byte) {
		return func(t *testing.T, f map[string][]byte) {
			st := signedBy(t, s, sealed, file, predicateType, subject)
			was, err := st.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			change(st)
			if is, err := st.Marshal(); err != nil || bytes.Equal(is, was) {
				t.Fatalf("nothing changed in %s: %v", was, err)
			}
			f[file] = sign(t, s, st)
		}
	}
	replace := func(from, to string) func(*attest.Statement) {
		return func(st *attest.Statement) { st.Predicate = bytes.Replace(st.Predicate, []byte(from), []byte(to), 1) }
	}
	const differs = "the signed statement does not say what the evidence says"
	rel, err := c.Release()
	if err != nil {
		t.Fatal(err)
	}
	manifests := rel.ManifestsDigest
	for name, tt := range map[string]struct {
		edit          func(t *testing.T, files map[string][]byte)
		check, reason string
	}{
		"signed anew, nothing edited": {func(t *testing.T, f map[string][]byte) { f[bundle.ReportsFile] = sign(t, s, reports(f)) }, "", ""},
		"report edited": {func(t *testing.T, f map[string][]byte) {
			f["report.md"] = bytes.Replace(f["report.md"], []byte("FAIL"), []byte("PASS"), 1)
			f[bundle.ReportsFile] = sign(t, s, reports(f))
		}, "reports", "report.md is not what this evidence renders to"},
		"report added": {func(t *testing.T, f map[string][]byte) {
			f["extra.md"] = []byte("PASS")
			f[bundle.ReportsFile] = sign(t, s, reports(f))
		}, "reports", "extra.md is not a report"},
		"report without its signature's subject": {func(t *testing.T, f map[string][]byte) {
			st := reports(f)
			st.Subjects = st.Subjects[:1]
			f[bundle.ReportsFile] = sign(t, s, st)
		}, "reports", "report.txt is extra"},
		"reports said to be of other evidence": {func(t *testing.T, f map[string][]byte) {
			st := reports(f)
			st.Predicate = json.RawMessage(`{"evidence":"` + string(evidence.DigestOf(nil)) + `"}`)
			f[bundle.ReportsFile] = sign(t, s, st)
		}, "reports", differs},
		"reports of another type": {func(t *testing.T, f map[string][]byte) {
			st := reports(f)
			st.PredicateType = attest.EvidenceType
			f[bundle.ReportsFile] = sign(t, s, st)
		}, "reports", "the signature is about another kind of statement"},
		"reports signed by another trusted key": {func(t *testing.T, f map[string][]byte) { f[bundle.ReportsFile] = sign(t, second, reports(f)) },
			"reports", "the reports are signed by another key than the evidence"},
		"summary passed": {edited(bundle.VSAFile, attest.VSAType, manifests, replace("FAILED", "PASSED")), "summary", "verdict.vsa.sigstore.json: " + differs},
		"summary of another image": {edited(bundle.VSAFile, attest.VSAType, manifests, func(st *attest.Statement) {
			st.Subjects[len(st.Subjects)-1].Digest = evidence.DigestOf([]byte("other image"))
		}), "summary", differs},
		"summary with a level": {edited(bundle.VSAFile, attest.VSAType, manifests, replace(`"verifiedLevels":[]`, `"verifiedLevels":["SLSA_BUILD_LEVEL_3"]`)), "summary", differs},
		"summary of another type": {edited(bundle.VSAFile, attest.VSAType, manifests, func(st *attest.Statement) { st.PredicateType += "x" }),
			"summary", "the signature is about another kind of statement"},
		"summary signed by another trusted key": {func(t *testing.T, f map[string][]byte) {
			f[bundle.VSAFile] = sign(t, second, signedBy(t, s, sealed, bundle.VSAFile, attest.VSAType, manifests))
		}, "summary", "signed by another key than the evidence"},
		"statement passed": {edited(bundle.SignatureFile, attest.EvidenceType, sealed.ID, replace(`"FAIL"`, `"PASS"`)), "statement", differs},
		"statement about another image": {edited(bundle.SignatureFile, attest.EvidenceType, sealed.ID, func(st *attest.Statement) {
			st.Subjects[len(st.Subjects)-1].Digest = evidence.DigestOf([]byte("other image"))
		}), "statement", differs},
		"statement without the chart": {edited(bundle.SignatureFile, attest.EvidenceType, sealed.ID, func(st *attest.Statement) { st.Subjects = st.Subjects[:1] }), "statement", differs},
		"statement with more in it":   {edited(bundle.SignatureFile, attest.EvidenceType, sealed.ID, replace(`{`, `{"approved":true,`)), "statement", differs},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := maps.Clone(sealed.Files)
			tt.edit(t, files)
			v := verifier(t, s)
			if err := v.Trust.Add(second.PublicKeyPEM()); err != nil {
				t.Fatal(err)
			}
			r := v.Verify(t.Context(), files, sealed.ID)
			if tt.check == "" {
				wantOK(t, r)
				return
			}
			wantRefused(t, r, tt.check, tt.reason)
		})
	}
}
