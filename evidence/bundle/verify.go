package bundle

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/gate"
)

// Verifier checks bundles offline.
type Verifier struct {
	Trust *attest.Trust
	// Replay derives findings from the sealed artifacts again. It also returns the
	// runs, in which a collector whose derivation failed has become an error. runs
	// says which version's rules sealed the bundle.
	Replay func(in evidence.ArtifactReader, runs *evidence.Runs) ([]evidence.Finding, []evidence.CollectorRun, error)
	// Compose derives findings and verdict of a composed bundle from its inputs
	// again, after it has verified them; it refuses a bundle whose release and runs
	// are not those of its inputs. Without it composed bundles do not verify.
	Compose func(ctx context.Context, b *Bundle) ([]evidence.Finding, evidence.Verdict, error)
	// Render renders all reports again.
	Render RenderFunc
	Tool   string // this program, as runs.json names it: to explain what another version does otherwise
	Limits Limits // the zero value means DefaultLimits
	// Catalog is this program's own, raw: evidence of the same rules has to be judged
	// by it, and what is derived anew from other evidence is. nil: any catalog will do.
	Catalog []byte
	// ParseCatalog reads a catalog, which it may have read before: nobody changes what
	// it returns. nil means gate.ParseCatalog.
	ParseCatalog func([]byte) (*evidence.Catalog, error)
	// Builtin reports whether a profile is a built-in one of this version, with no
	// more than what was given to judge by added; nil: what runs.json says of it counts.
	Builtin func(*evidence.Profile) bool
	// Rules and Reports are the versions that Replay and Render are of; 0 means
	// evidence.RulesVersion and evidence.ReportsVersion.
	Rules, Reports int
}

// Check is one line of what verify found.
type Check struct {
	Name    string           `json:"name"`
	Outcome evidence.Outcome `json:"outcome"` // pass, warn, fail, not-checked, or not-applicable: what it is about is absent
	Reason  string           `json:"reason"`
}

// Result is what verify found out about one bundle.
type Result struct {
	Bundle  evidence.Digest  `json:"bundle"`
	Outcome evidence.Outcome `json:"outcome"` // pass or fail
	KeyID   string           `json:"keyID,omitempty"`
	Checks  []Check          `json:"checks"`
	// Rules says that another version's rules sealed the bundle; Worse lists the
	// controls that this version judges worse. The bundle is intact all the same.
	Rules *Versions        `json:"rules,omitempty"`
	Worse []evidence.Worse `json:"worse,omitempty"`

	bundle     *Bundle
	signatures Files
	err        error
	replayed   *gate.Replayed
	counts     evidence.Verdict
}

// Versions are the rules that a bundle was sealed by, and this program's.
type Versions struct {
	Sealed int `json:"sealed"`
	This   int `json:"this"`
}

// Replayed is what this version's rules derive from the artifacts of a verified
// bundle that another version's sealed; nil where the same rules sealed it.
func (r *Result) Replayed() *gate.Replayed { return r.replayed }

// Counts is the verdict that counts for a verified bundle: the sealed one, or
// where other rules sealed it the worse of it and of this version's, control by
// control.
func (r *Result) Counts() evidence.Verdict { return r.counts }

// OK reports whether every check passed.
func (r *Result) OK() bool { return r.Outcome == evidence.OutcomePass }

// Add adds a check that was made beside those of Verify.
func (r *Result) Add(c Check) {
	r.Checks = append(r.Checks, c)
	if c.Outcome == evidence.OutcomeFail {
		r.Outcome = evidence.OutcomeFail
	}
}

// Verified returns the opened bundle if every check passed, else nil.
func (r *Result) Verified() *Bundle {
	if !r.OK() {
		return nil
	}
	return r.bundle
}

// Forget lets go of the bundle and its signatures, which take far more room than what
// was found: Verified and Signatures return nothing from then on.
func (r *Result) Forget() { r.bundle, r.signatures, r.replayed = nil, nil, nil }

// Err is why a file of the bundle could not be read: then the outcome, fail, says
// nothing about the bundle.
func (r *Result) Err() error { return r.err }

// Signatures are the signature files that were verified, by name.
func (r *Result) Signatures() Files { return r.signatures }

// Reason is why a bundle is not verified: the first check that failed.
func (r *Result) Reason() string {
	for _, c := range r.Checks {
		if c.Outcome == evidence.OutcomeFail {
			return c.Name + ": " + c.Reason
		}
	}
	return ""
}

// step is one check: it returns what it found to hold, or an error.
type step struct {
	name string
	run  func() (string, error)
}

// absent is the error of a check that is not made, and need not be: the files
// that it is about are not there.
type absent string

func (a absent) Error() string { return string(a) }

// unmade is the error of a check of which only a part could be made, and need be.
// It never reads as a pass.
type unmade string

func (u unmade) Error() string { return string(u) }

// Verify checks the files of a bundle in a repository against its id. A
// repository is written whole: every file that was signed has to be there, and
// no other. Once a check fails, the later ones are not checked: they would judge
// bytes that nobody vouches for.
func (v *Verifier) Verify(ctx context.Context, files map[string][]byte, id evidence.Digest) *Result {
	return v.VerifyFrom(ctx, Files(files), id)
}

// VerifyFrom is Verify of files that are read when they are needed: sizes first, then
// the signature, and only then what was signed. Reports are read as streams.
func (v *Verifier) VerifyFrom(ctx context.Context, src Source, id evidence.Digest) *Result {
	return v.verify(&verification{ctx: ctx, src: src, id: id, named: true, whole: true})
}

// VerifyCopy checks a copy of a bundle, of which reports and their signature and
// the verification summary may be absent; what is there has to be signed. files
// are the bundle's own and its reports, nothing else that lies beside them. id is
// empty where nothing names the bundle but the digest of its evidence.
func (v *Verifier) VerifyCopy(ctx context.Context, files map[string][]byte, id evidence.Digest) *Result {
	return v.VerifyCopyFrom(ctx, Files(files), id)
}

// VerifyCopyFrom is VerifyCopy of files that are read when they are needed.
func (v *Verifier) VerifyCopyFrom(ctx context.Context, src Source, id evidence.Digest) *Result {
	return v.verify(&verification{ctx: ctx, src: src, id: id, named: id != ""})
}

func (v *Verifier) verify(s *verification) *Result {
	r := &Result{Bundle: s.id, Outcome: evidence.OutcomePass, signatures: Files{}}
	src := &reading{Source: s.src}
	defer func() { r.err = src.err }()
	s.Verifier, s.result, s.limits, s.src, s.names = v, r, v.Limits, src, s.src.Names()
	if s.limits == (Limits{}) {
		s.limits = DefaultLimits()
	}
	s.rules, s.reports = cmp.Or(v.Rules, evidence.RulesVersion), cmp.Or(v.Reports, evidence.ReportsVersion)
	for _, st := range []step{
		{"id", s.checkID}, {"signature", s.checkSignature}, {"contents", s.checkContents}, {"statement", s.checkStatement},
		{"findings", s.checkFindings}, {"verdict", s.checkVerdict}, {"reports", s.checkReports}, {"summary", s.checkSummary},
	} {
		c := Check{Name: st.name, Outcome: evidence.OutcomeNotChecked, Reason: "an earlier check failed"}
		if r.OK() {
			before := len(r.Worse)
			reason, err := st.run()
			var none absent
			var part unmade
			switch {
			case errors.As(err, &part):
				c.Reason = part.Error()
			case errors.As(err, &none):
				c.Outcome, c.Reason = evidence.OutcomeNotApplicable, none.Error()
			case err != nil:
				c.Outcome, c.Reason, r.Outcome = evidence.OutcomeFail, err.Error(), evidence.OutcomeFail
			case len(r.Worse) > before:
				c.Outcome, c.Reason = evidence.OutcomeWarn, reason
			default:
				c.Outcome, c.Reason = evidence.OutcomePass, reason
			}
		}
		r.Checks = append(r.Checks, c)
	}
	return r
}

// verification is one run of Verify.
type verification struct {
	*Verifier
	ctx       context.Context
	src       Source
	names     []string // of its files
	id        evidence.Digest
	named     bool // the id was given, not taken from the evidence
	whole     bool // nothing may be absent or extra
	limits    Limits
	result    *Result
	statement *attest.Statement
	stamps    []time.Time // trusted timestamps of the signature
	highS     []string    // files whose signature has the form that is not written any more
	b         *Bundle
	// The versions of this program's rules and renderers.
	rules, reports int
}

func (s *verification) checkID() (string, error) {
	if !s.has(EvidenceFile) {
		return "", fmt.Errorf("%s is absent", EvidenceFile)
	}
	if err := s.checkSizes(); err != nil {
		return "", err
	}
	got, err := digestFile(s.src, EvidenceFile)
	if err != nil {
		return "", err
	}
	if !s.named {
		s.id, s.result.Bundle = got, got
		return fmt.Sprintf("the id is the digest of %s; compare it with the one that you were given", EvidenceFile), nil
	}
	if got != s.id {
		if err := s.cutShort(); err != nil {
			return "", fmt.Errorf("%s has digest %s: %w", EvidenceFile, got, err)
		}
		return "", fmt.Errorf("%s has digest %s: it is altered, or belongs to another bundle", EvidenceFile, got)
	}
	return fmt.Sprintf("%s has the digest that names the bundle", EvidenceFile), nil
}

// cutShort is an error where evidence.zip does not end as a zip does, or cannot be read
// again to see that.
func (s *verification) cutShort() error {
	r, size, err := s.src.Open(EvidenceFile)
	if err != nil {
		return err
	}
	defer r.Close()
	if size >= endSize {
		if _, err := io.CopyN(io.Discard, r, size-endSize); err != nil {
			return fmt.Errorf("read %s: %w", EvidenceFile, err)
		}
	}
	end, err := io.ReadAll(io.LimitReader(r, endSize))
	if err != nil {
		return fmt.Errorf("read %s: %w", EvidenceFile, err)
	}
	if len(end) < endSize || string(end[:4]) != endMark {
		return fmt.Errorf("it is no whole zip: its end is missing after %d bytes; fetch it again", size)
	}
	return nil
}

// checkSignature checks who signed the evidence. Of a copy, whose id is the digest of
// what is there, a cut is what is wrong, whatever the signature is about.
func (s *verification) checkSignature() (string, error) {
	reason, err := s.signatureReason()
	if err != nil && !s.named {
		if cut := s.cutShort(); cut != nil {
			return "", fmt.Errorf("%s: %w", EvidenceFile, cut)
		}
	}
	return reason, err
}

func (s *verification) signatureReason() (string, error) {
	if !s.has(SignatureFile) {
		err := fmt.Errorf("%s is absent: nothing says who made this evidence", SignatureFile)
		if !s.whole {
			err = fmt.Errorf("%w; fetch it, or say with --signature where it is", err)
		}
		return "", err
	}
	st, sig, err := s.signed(SignatureFile, attest.EvidenceType, s.id)
	if err != nil {
		return "", err
	}
	s.statement, s.result.KeyID, s.stamps = st, sig.KeyID, sig.Timestamps
	reason := "signed by trusted key " + evidence.Digest(sig.KeyID).Short()
	if len(sig.Timestamps) > 0 {
		reason += ", timestamped " + sig.Timestamps[0].UTC().Format("2006-01-02 15:04:05Z")
	} else {
		reason += ", no trusted timestamp"
	}
	return reason, nil
}

// signed verifies one of the bundle's signatures. Its file must be what a Signer
// writes, to the byte: also the name of the key, which no signature covers.
func (s *verification) signed(name, predicateType string, digest evidence.Digest) (*attest.Statement, *attest.Signature, error) {
	raw, err := s.signature(name)
	if err != nil {
		return nil, nil, err
	}
	st, sig, err := s.Trust.Verify(raw, predicateType, digest)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if hint := attest.HintOf(raw); hint != sig.KeyID {
		return nil, nil, fmt.Errorf("%s is altered: it names another key than %s, which signed it", name, evidence.Digest(sig.KeyID).Short())
	}
	if again, err := jsoncanonicalizer.Transform(raw); err != nil || !bytes.Equal(raw, again) {
		return nil, nil, fmt.Errorf("%s is altered: it is not in the canonical form that helmproof writes", name)
	}
	if sig.HighS {
		s.highS = append(s.highS, name)
	}
	return st, sig, s.checkForm()
}

// checkForm refuses the second form of an ECDSA signature, which anybody can make
// of the first. Bundles of builds that wrote either form do not say lowS.
func (s *verification) checkForm() error {
	if s.b == nil || !s.b.runs.LowS || len(s.highS) == 0 {
		return nil
	}
	return fmt.Errorf("%s is altered: its signature has the high-S form, which helmproof does not write", s.highS[0])
}

// signature reads a signature file, once.
func (s *verification) signature(name string) ([]byte, error) {
	if raw, ok := s.result.signatures[name]; ok {
		return raw, nil
	}
	if !s.has(name) {
		return nil, fmt.Errorf("%s is absent", name)
	}
	raw, err := ReadFile(s.src, name, MaxSignature)
	if err == nil {
		s.result.signatures[name] = raw
	}
	return raw, err
}

func (s *verification) checkContents() (string, error) {
	zip, err := ReadFile(s.src, EvidenceFile, s.limits.MaxZip)
	if err != nil {
		return "", err
	}
	b, err := Open(zip, s.limits)
	if err != nil {
		return "", err
	}
	if b.id != s.id { // it is read a second time
		return "", fmt.Errorf("%s was replaced while it was verified: it has digest %s", EvidenceFile, b.id)
	}
	s.b, s.result.bundle = b, b
	if err := s.checkForm(); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d files in %s, nothing missing, nothing added", len(b.files), EvidenceFile), nil
}

// checkStatement holds that what was signed says what the bundle says, and that
// the release record's digest of the sealed manifests is theirs.
func (s *verification) checkStatement() (string, error) {
	want, err := evidenceStatement(s.b)
	if err != nil {
		return "", err
	}
	if err := sameStatement(s.statement, want); err != nil {
		return "", err
	}
	if r := s.b.runs; r.Rules < 0 || r.Reports < 0 || (r.Rules == 0) != (r.Reports == 0) {
		return "", fmt.Errorf("%s names rules %d and reports %d, which never went together", runsFile, r.Rules, r.Reports)
	}
	if err := checkTimes(s.b.runs.Collectors, s.b.verdict.EvaluatedAt, s.stamps); err != nil {
		return "", err
	}
	if s.b.release.Scope == evidence.ScopeCluster {
		return "the signed statement names this cluster and this verdict", nil
	}
	if s.b.release.Scope == evidence.ScopeRelease {
		raw, err := s.b.Read("artifacts/release/manifests.yaml")
		if err != nil {
			return "", err
		}
		if got := evidence.DigestOf(raw); got != s.b.release.SealedManifestsDigest {
			return "", fmt.Errorf("the sealed manifests have digest %s, %s says %s", got, ReleaseFile, s.b.release.SealedManifestsDigest)
		}
		if s.b.release.Redactions == 0 && s.b.release.ManifestsDigest != s.b.release.SealedManifestsDigest {
			return "", errors.New("the sealed manifests differ from the rendered ones although nothing was redacted")
		}
	}
	return "the signed statement names this chart, these manifests and this verdict", nil
}

// clockSkew is how far the clocks of the machine that looked and of a timestamp
// authority may be apart.
const clockSkew = 5 * time.Minute

// checkTimes refuses times that cannot be: a run that ends before it begins, a
// verdict before the runs that it judges, and, where a trusted authority says
// when the bundle was signed, anything that is dated later than that: evidence
// from the future would be fresh for longer than it is.
func checkTimes(runs []evidence.CollectorRun, evaluated time.Time, stamps []time.Time) error {
	const layout = time.RFC3339
	for _, r := range runs {
		switch {
		case r.FinishedAt.Before(r.StartedAt):
			return fmt.Errorf("the run of collector %s ends at %s, before it begins at %s", r.Collector, r.FinishedAt.Format(layout), r.StartedAt.Format(layout))
		case evaluated.Add(clockSkew).Before(r.FinishedAt):
			return fmt.Errorf("the verdict is of %s, before the run of collector %s ended at %s", evaluated.Format(layout), r.Collector, r.FinishedAt.Format(layout))
		}
	}
	for _, t := range stamps {
		if t.Add(clockSkew).Before(evaluated) {
			return fmt.Errorf("the verdict is dated %s, but was signed by %s, as a trusted timestamp says", evaluated.Format(layout), t.UTC().Format(layout))
		}
	}
	return nil
}

func sameStatement(got, want *attest.Statement) error {
	g, err := got.Marshal()
	if err != nil {
		return err
	}
	w, err := want.Marshal()
	if err != nil {
		return err
	}
	if !bytes.Equal(g, w) {
		return errors.New("the signed statement does not say what the evidence says")
	}
	return nil
}

func (s *verification) checkFindings() (string, error) {
	if s.b.release.Scope == evidence.ScopeComposed {
		return s.checkInputs()
	}
	if s.Replay == nil {
		return "", errors.New("nothing to derive the findings with")
	}
	found, runs, err := s.Replay(s.b, &s.b.runs)
	if err != nil {
		return "", fmt.Errorf("derive the findings again: %w", err)
	}
	if s.otherRules() {
		return s.judgeAgain(gate.Replayed{Findings: found, Runs: runs})
	}
	if len(runs) != len(s.b.runs.Collectors) {
		return "", fmt.Errorf("deriving the findings again ends in %d collector runs, the bundle has %d%s", len(runs), len(s.b.runs.Collectors), s.otherTool())
	}
	for i, run := range runs {
		if run.Outcome != s.b.runs.Collectors[i].Outcome {
			return "", fmt.Errorf("deriving the findings of collector %s again ends in %s: %s%s", run.Collector, run.Outcome, run.Error, s.otherTool())
		}
	}
	if err := sameFindings(found, s.b); err != nil {
		return "", fmt.Errorf("%w%s", err, s.otherTool())
	}
	// They are the same, and are not needed thrice.
	s.b.findings, s.b.files[findingsFile] = nonNil(found), nil
	return fmt.Sprintf("all %d follow from the sealed artifacts", len(found)), nil
}

// sameFindings names the first finding that differs from the sealed ones.
func sameFindings(derived []evidence.Finding, b *Bundle) error {
	err := isCanonicalList(b.files[findingsFile], derived)
	if !errors.Is(err, errDiffers) {
		return err
	}
	sealed := b.findings
	byID := func(list []evidence.Finding) map[string]string {
		m := map[string]string{}
		for _, x := range list {
			if raw, err := CanonicalJSON(x); err == nil {
				m[x.ID] = string(raw)
			}
		}
		return m
	}
	was, is := byID(sealed), byID(derived)
	for _, x := range derived {
		if _, ok := was[x.ID]; !ok {
			return fmt.Errorf("the artifacts show a finding that is not in the bundle: %s, %s, %s", x.Rule, x.Target.Object(), x.Outcome)
		}
	}
	for _, x := range sealed {
		if again, ok := is[x.ID]; !ok {
			return fmt.Errorf("the bundle holds a finding that its artifacts do not show: %s, %s, %s", x.Rule, x.Target.Object(), x.Outcome)
		} else if again != was[x.ID] {
			return fmt.Errorf("the artifacts show another outcome or text for a finding: %s, %s, sealed as %s", x.Rule, x.Target.Object(), x.Outcome)
		}
	}
	return errors.New("the findings are not in the order, or not as many, as the artifacts show")
}

// otherTool explains a difference that another version may be the reason of.
func (s *verification) otherTool() string {
	if s.Tool == "" || s.b.runs.Tool == s.Tool {
		return ""
	}
	return fmt.Sprintf(" (sealed by %s, this is %s: verify with that version)", s.b.runs.Tool, s.Tool)
}

// judgedBy parses the sealed profile, catalog and waivers.
func (s *verification) judgedBy() (in gate.Input, err error) {
	if in.Profile, err = gate.ParseProfile(s.b.Profile()); err != nil {
		return in, fmt.Errorf("%s: %w", ProfileFile, err)
	}
	if in.Catalog, err = s.parseCatalog(s.b.Catalog()); err != nil {
		return in, fmt.Errorf("%s: %w", CatalogFile, err)
	}
	if in.Waivers, err = gate.ParseWaivers(s.b.Waivers()); err != nil {
		return in, fmt.Errorf("%s: %w", WaiversFile, err)
	}
	in.ProfileDigest, in.CatalogDigest = evidence.DigestOf(s.b.Profile()), evidence.DigestOf(s.b.Catalog())
	in.Findings, in.Runs, in.At = s.b.findings, s.b.runs.Collectors, s.b.verdict.EvaluatedAt
	in.Namespace = s.b.release.Namespace
	if in.Baseline, err = s.b.Baseline(); err != nil {
		return in, err
	}
	return in, nil
}

func (s *verification) parseCatalog(raw []byte) (*evidence.Catalog, error) {
	if s.ParseCatalog != nil {
		return s.ParseCatalog(raw)
	}
	return gate.ParseCatalog(raw)
}

// profileName names the sealed profile, one of the user's own with the beginning of its digest.
func (s *verification) profileName() string {
	v := s.b.verdict
	name := s.b.runs.ProfileName(v.Profile, v.ProfileDigest)
	return strings.Replace(name, string(v.ProfileDigest), "sha256:"+v.ProfileDigest.Short()+"…", 1)
}

func (s *verification) checkVerdict() (string, error) {
	if err := s.checkProfile(); err != nil {
		return "", err
	}
	if !s.otherRules() && s.Catalog != nil && !bytes.Equal(s.Catalog, s.b.Catalog()) {
		return "", fmt.Errorf("%s is not the catalog of rules %d, by which it says it was judged%s", CatalogFile, s.rules, s.otherTool())
	}
	if s.b.release.Scope == evidence.ScopeComposed && !s.otherRules() {
		return fmt.Sprintf("%s follows from the bundles that it names", s.b.verdict.Outcome), nil // checkInputs held it
	}
	if s.otherRules() {
		return fmt.Sprintf("%s as sealed; what counts by now is %s", s.b.verdict.Outcome, s.result.counts.Outcome), nil
	}
	in, err := s.judgedBy()
	if err != nil {
		return "", err
	}
	if err := s.sameVerdict(gate.Evaluate(in)); err != nil {
		return "", err
	}
	s.result.counts = s.b.verdict
	return fmt.Sprintf("%s follows from findings, profile %s and waivers", s.b.verdict.Outcome, s.profileName()), nil
}

// checkProfile holds that a profile that counts as built in is this version's. Bundles
// that name no repository are of versions that did not tell.
func (s *verification) checkProfile() error {
	if r := s.b.runs; s.otherRules() || s.Builtin == nil || r.Repository == "" || r.OwnProfile {
		return nil
	}
	p, err := gate.ParseProfile(s.b.Profile())
	if err != nil {
		return fmt.Errorf("%s: %w", ProfileFile, err)
	}
	if !s.Builtin(p) {
		return fmt.Errorf("%s is not the built-in profile %s, and %s does not say that it is the user's own%s", ProfileFile, p.Name, runsFile, s.otherTool())
	}
	return nil
}

func (s *verification) sameVerdict(derived evidence.Verdict) error {
	again, err := CanonicalJSON(derived)
	if err != nil {
		return err
	}
	if bytes.Equal(again, s.b.files[verdictFile]) {
		return nil
	}
	if derived.Outcome != s.b.verdict.Outcome {
		return fmt.Errorf("the evidence gives %s, the bundle says %s%s", derived.Outcome, s.b.verdict.Outcome, s.otherTool())
	}
	return fmt.Errorf("the evidence gives other results per control than the bundle says%s", s.otherTool())
}

func (s *verification) checkInputs() (string, error) {
	if s.Compose == nil {
		return "", errors.New("a composed verdict: give the repository that holds its inputs")
	}
	found, verdict, err := s.Compose(s.ctx, s.b)
	if err != nil {
		return "", err
	}
	for _, r := range s.b.verdict.Results {
		for _, ref := range r.Evidence {
			if !slices.Contains(s.b.inputs, ref) {
				return "", fmt.Errorf("%s rests on bundle %s, which %s does not name as it is", r.Control, ref.Bundle.Short(), inputsFile)
			}
		}
	}
	if s.otherRules() {
		in, err := s.judgedBy()
		if err != nil {
			return "", err
		}
		in.Waivers = waiversOf(verdict) // those of its inputs, which are verified
		if err := gate.Consistent(s.b.verdict, in); err != nil {
			return "", err
		}
		counts, worse := gate.Worst(s.b.verdict, verdict)
		s.result.replayed = &gate.Replayed{Findings: found, Runs: s.b.runs.Collectors}
		return fmt.Sprintf("%d bundles that this verdict rests on are verified; %s", len(s.b.inputs), s.settle(counts, worse)), nil
	}
	if err := sameFindings(found, s.b); err != nil {
		return "", err
	}
	if err := s.sameVerdict(verdict); err != nil {
		return "", err
	}
	s.result.counts = s.b.verdict
	return fmt.Sprintf("%d bundles that this verdict rests on are verified", len(s.b.inputs)), nil
}
