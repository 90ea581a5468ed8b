package accesslog

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
)

// Entries in the form that the providers document, with names of nobody.
const (
	gcpEntry = `{"insertId":"1a","logName":"projects/shop-test/logs/cloudaudit.googleapis.com%2Fdata_access","timestamp":"2026-11-01T10:00:00.123456789Z","severity":"INFO",
"protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","serviceName":"secretmanager.googleapis.com","methodName":"google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion",
"authenticationInfo":{"principalEmail":"operator@shop-test.iam.gserviceaccount.com"},"resourceName":"projects/123/secrets/orders-db/versions/4","requestMetadata":{"callerIp":"192.0.2.1"},"status":{}}}`
	awsEntry = `{"eventVersion":"1.08","eventTime":"2026-11-01T10:00:00Z","eventSource":"secretsmanager.amazonaws.com","eventName":"GetSecretValue","awsRegion":"eu-central-1","sourceIPAddress":"192.0.2.1",
"userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE:pod-1","arn":"arn:aws:sts::123456789012:assumed-role/operator/pod-1","accountId":"123456789012",
"sessionContext":{"sessionIssuer":{"type":"Role","arn":"arn:aws:iam::123456789012:role/operator"}}},
"requestParameters":{"secretId":"arn:aws:secretsmanager:eu-central-1:123456789012:secret:orders/db-AbC123"},"responseElements":null,"readOnly":true,"eventType":"AwsApiCall"}`
	vaultEntry = `{"time":"2026-11-01T10:00:00.5Z","type":"response","auth":{"client_token":"hmac-sha256:00","accessor":"hmac-sha256:01","display_name":"kubernetes-external-secrets-operator","policies":["apps"],"entity_id":"e-1"},
"request":{"id":"r","operation":"read","mount_point":"apps/","mount_type":"kv","path":"apps/data/orders/db","remote_address":"192.0.2.1"},"response":{"mount_type":"kv","data":{"data":{"password":"hmac-sha256:02"}}}}`
)

// oneLine is an entry as JSON lines have it.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "") }

func packed(tb testing.TB, s string) string {
	tb.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// lookup is CloudTrail's record as lookup-events gives it.
func lookup(rest string) string {
	return fmt.Sprintf(`{"Events":[{"EventId":"e","EventName":"GetSecretValue","EventTime":1793527200.0,"Username":"pod-1","Resources":[],"CloudTrailEvent":%q}]%s}`, oneLine(awsEntry), rest)
}

func openLogs(tb testing.TB, content ...string) *Logs {
	tb.Helper()
	var names []string
	for i, c := range content {
		name := filepath.Join(tb.TempDir(), fmt.Sprintf("%d.json", i))
		if err := os.WriteFile(name, []byte(c), 0o600); err != nil {
			tb.Fatal(err)
		}
		names = append(names, name)
	}
	logs, err := OpenLogs(tb.Context(), names)
	if err != nil {
		tb.Fatal(err)
	}
	return logs
}

// TestProviders: who read what, by each provider's entries, whatever they are packed in.
func TestProviders(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	gcp := Read{Provider: "gcp", Secret: "projects/123/secrets/orders-db", Principal: "operator@shop-test.iam.gserviceaccount.com", Count: 1, First: at.Add(123456789), Last: at.Add(123456789)}
	aws := Read{Provider: "aws", Secret: "arn:aws:secretsmanager:eu-central-1:123456789012:secret:orders/db-AbC123", Principal: "arn:aws:iam::123456789012:role/operator", Count: 1, First: at, Last: at}
	vault := Read{Provider: "vault", Secret: "apps/data/orders/db", Mount: "apps", Principal: "kubernetes-external-secrets-operator", Count: 1, First: at.Add(time.Second / 2), Last: at.Add(time.Second / 2)}
	with := func(r Read, edit func(*Read)) Read { edit(&r); return r }
	swap := func(s string, pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(s, pairs[i]) {
				t.Fatalf("%s is not in %s", pairs[i], s)
			}
		}
		return strings.NewReplacer(pairs...).Replace(s)
	}
	const session = `"sessionContext":{"sessionIssuer":{"type":"Role","arn":"arn:aws:iam::123456789012:role/operator"}}`
	for _, tt := range []struct {
		name, log string
		want      []Read
	}{
		{"gcp: lines", oneLine(gcpEntry) + "\n" + oneLine(gcpEntry) + "\n", []Read{with(gcp, func(r *Read) { r.Count = 2 })}},
		{"gcp: array", "[\n" + gcpEntry + ",\n" + gcpEntry + "\n]\n", []Read{with(gcp, func(r *Read) { r.Count = 2 })}},
		{"gcp: packed", packed(t, oneLine(gcpEntry)), []Read{gcp}},
		{"gcp: byte order mark", "\ufeff[" + gcpEntry + "]", []Read{gcp}},
		{"gcp: refused", oneLine(swap(gcpEntry, `"status":{}`, `"status":{"code":7,"message":"denied"}`)), []Read{with(gcp, func(r *Read) { r.Refused = 1 })}},
		{"gcp: by subject", oneLine(swap(gcpEntry, `"principalEmail":"operator@shop-test.iam.gserviceaccount.com"`, `"principalSubject":"principal://pool/subject/ns/a"`)),
			[]Read{with(gcp, func(r *Read) { r.Principal = "principal://pool/subject/ns/a" })}},
		{"gcp: nobody", oneLine(swap(gcpEntry, `"principalEmail":"operator@shop-test.iam.gserviceaccount.com"`, "")), []Read{with(gcp, func(r *Read) { r.Principal = "" })}},
		{"gcp: beta, in a region", oneLine(swap(gcpEntry, "v1.Sec", "v1beta2.Sec", "projects/123/secrets", "projects/123/locations/europe-west3/secrets")),
			[]Read{with(gcp, func(r *Read) { r.Secret = "projects/123/locations/europe-west3/secrets/orders-db" })}},
		{"gcp: another method", oneLine(swap(gcpEntry, "AccessSecretVersion", "ListSecrets")), nil},
		{"gcp: another service", oneLine(swap(gcpEntry, `"secretmanager.googleapis.com"`, `"storage.googleapis.com"`)), nil},
		{"aws: file", `{"Records":[` + awsEntry + `,` + awsEntry + `]}`, []Read{with(aws, func(r *Read) { r.Count = 2 })}},
		{"aws: packed file", packed(t, `{"Records":[`+awsEntry+`]}`), []Read{aws}},
		{"aws: files, one after the other", `{"Records":[` + awsEntry + `]}` + "\n" + `{"Records":[]}` + `{"Records":[` + awsEntry + `]}`, []Read{with(aws, func(r *Read) { r.Count = 2 })}},
		{"aws: lines", oneLine(awsEntry), []Read{aws}},
		{"aws: lookup-events", lookup(""), []Read{aws}},
		{"aws: batch", oneLine(swap(awsEntry, "GetSecretValue", "BatchGetSecretValue", `"secretId":"arn:aws:secretsmanager:eu-central-1:123456789012:secret:orders/db-AbC123"`, `"secretIdList":["a","b","a"]`)),
			[]Read{with(aws, func(r *Read) { r.Secret = "a" }), with(aws, func(r *Read) { r.Secret = "b" })}},
		{"aws: batch by filters", oneLine(swap(awsEntry, "GetSecretValue", "BatchGetSecretValue", `"secretId":"arn:aws:secretsmanager:eu-central-1:123456789012:secret:orders/db-AbC123"`, `"filters":[{"key":"name"}]`)), nil},
		{"aws: a user", oneLine(swap(awsEntry, session, `"x":1`, "arn:aws:sts::123456789012:assumed-role/operator/pod-1", "arn:aws:iam::123456789012:user/eve")),
			[]Read{with(aws, func(r *Read) { r.Principal = "arn:aws:iam::123456789012:user/eve" })}},
		{"aws: a service", oneLine(swap(awsEntry, session, `"invokedBy":"rds.amazonaws.com"`, `"arn":"arn:aws:sts::123456789012:assumed-role/operator/pod-1",`, "")),
			[]Read{with(aws, func(r *Read) { r.Principal = "rds.amazonaws.com" })}},
		{"aws: refused", oneLine(swap(awsEntry, `"eventVersion"`, `"errorCode":"AccessDenied","eventVersion"`)), []Read{with(aws, func(r *Read) { r.Refused = 1 })}},
		{"aws: refused, without parameters", oneLine(swap(awsEntry, `"eventVersion"`, `"errorCode":"AccessDenied","eventVersion"`, `{"secretId":"arn:aws:secretsmanager:eu-central-1:123456789012:secret:orders/db-AbC123"}`, "null")), nil},
		{"aws: another call", oneLine(swap(awsEntry, "GetSecretValue", "DescribeSecret")), nil},
		{"vault: lines", oneLine(vaultEntry) + "\n\n" + oneLine(vaultEntry), []Read{with(vault, func(r *Read) { r.Count = 2 })}},
		{"vault: the request", oneLine(swap(vaultEntry, `"type":"response"`, `"type":"request"`)), nil},
		{"vault: refused", oneLine(swap(vaultEntry, `"type":"response"`, `"type":"response","error":"permission denied"`)), []Read{with(vault, func(r *Read) { r.Refused = 1 })}},
		{"vault: an entity", oneLine(swap(vaultEntry, `"display_name":"kubernetes-external-secrets-operator",`, "")), []Read{with(vault, func(r *Read) { r.Principal = "e-1" })}},
		{"vault: its own", oneLine(swap(vaultEntry, "apps/data/orders/db", "sys/mounts")), nil},
		{"vault: a write", oneLine(swap(vaultEntry, `"operation":"read"`, `"operation":"update"`)), nil},
		{"of all in one", oneLine(gcpEntry) + "\n" + oneLine(awsEntry) + "\n" + oneLine(vaultEntry), []Read{aws, gcp, vault}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := openLogs(t, tt.log)
			if diff := cmp.Diff(tt.want, got.Reads); diff != "" {
				t.Errorf("reads (-want +got):\n%s", diff)
			}
			if f := got.Files[0]; f.Malformed > 0 || f.Cut != "" || len(f.Spans) == 0 {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestDamagedLogs: what is wrong with a log is counted and said, without quoting it.
func TestDamagedLogs(t *testing.T) {
	t.Parallel()
	good := oneLine(gcpEntry)
	pad := strings.Repeat("x", maxEntry)
	for _, tt := range []struct {
		name, log string
		reads     int
		malformed int
		want      string // part of what is said first
	}{
		{"empty", "", 0, 0, ""},
		{"a line of something else", good + "\nhunter2\n" + good, 2, 1, "line 2: it is no entry"},
		{"a line that ends in the middle", good + "\n" + good[:len(good)/2], 1, 1, "line 2: it is no entry"},
		{"an object of something else", good + "\n{\"level\":\"info\"}\nnull\n[]\n7\n", 1, 4, "line 2: it is no entry"},
		{"a long line", `{"x":"` + pad + "\"}\n" + good, 1, 1, "line 1: an entry of more than 1048576 bytes"},
		{"a long last line", good + "\n" + `{"x":"` + pad, 1, 1, "line 2: an entry of more than 1048576 bytes"},
		{"no time", strings.Replace(good, "2026-11-01T10", "yesterday", 1), 0, 1, "line 1: it has no time"},
		{"a time that is none", strings.Replace(good, `"timestamp":"2026-11-01T10:00:00.123456789Z"`, `"timestamp":5`, 1), 0, 1, "line 1: it is no entry"},
		{"a secret without name", strings.Replace(good, "/secrets/orders-db", "", 1), 0, 1, "a secret that it does not name"},
		{"no secret of AWS", strings.Replace(oneLine(awsEntry), `"secretId"`, `"other"`, 1), 0, 1, "a secret that it does not name"},
		{"parameters that are none", strings.Replace(oneLine(awsEntry), `{"secretId":`, `["secretId",`, 1), 0, 1, "it is no entry"},
		{"an array with a number", "[1," + good + "]", 1, 1, "entry 1: it is no entry"},
		{"an array that ends in the middle", "[" + good + "," + good[:90], 1, 0, "it ends in the middle"},
		{"an array that is none", "[" + good + " " + good + "]", 1, 0, "it is no JSON from byte"},
		{"an array without end", "[" + good, 1, 0, "it ends in the middle"},
		{"text after the array", "[" + good + "] end", 1, 0, "it is no JSON from byte"},
		{"a long entry", `{"Records":[{"x":"` + pad + pad + pad + `"}]}`, 0, 0, "an entry of more than 1048576 bytes"},
		{"records that are none", `{"Records":{}}`, 0, 0, "Records is no array"},
		{"further pages", lookup(`,"NextToken":"abc"`), 1, 0, "there are further pages"},
		{"no further pages", lookup(`,"NextToken":null`), 1, 0, ""},
		{"events within events", fmt.Sprintf(`{"Events":[{"CloudTrailEvent":%q}]}`, `{"CloudTrailEvent":"{}"}`), 0, 1, "entry 1: it is no entry"},
		{"no gzip", "\x1f\x8bxyz", 0, 0, "unpack"},
		{"gzip that ends in the middle", packed(t, good+"\n")[:60], 0, 0, "unexpected EOF"},
		{"spaces without end", "[" + strings.Repeat(" ", 2*maxEntry), 0, 0, "an entry of more than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := openLogs(t, tt.log).Files[0]
			said := f.FirstBad + f.Cut
			if f.Reads != tt.reads || f.Malformed != tt.malformed || !strings.Contains(said, tt.want) || tt.want == "" && said != "" || strings.Contains(said, "hunter2") {
				t.Errorf("%d reads, %d malformed, %q; want %d, %d, %q", f.Reads, f.Malformed, said, tt.reads, tt.malformed, tt.want)
			}
			if f.Bytes != int64(len(tt.log)) || f.Digest != evidence.DigestOf([]byte(tt.log)) {
				t.Errorf("%d bytes, %s", f.Bytes, f.Digest)
			}
		})
	}
}

func TestOpenLogs(t *testing.T) {
	t.Parallel()
	if _, err := OpenLogs(t.Context(), []string{t.TempDir()}); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := OpenLogs(t.Context(), []string{filepath.Join(t.TempDir(), "gone")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	name := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(name, []byte(oneLine(gcpEntry)), 0o600); err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := OpenLogs(ctx, []string{name}); !errors.Is(err, why) {
		t.Errorf("an ended context: %v", err)
	}
	// Reads over the bound are counted.
	var b strings.Builder
	for i := range maxPairs + 7 {
		fmt.Fprintf(&b, `{"time":"2026-11-01T10:00:00Z","type":"response","request":{"operation":"read","path":"apps/s%d"}}`+"\n", i)
	}
	if logs := openLogs(t, b.String()); len(logs.Reads) != maxPairs || logs.Files[0].LeftOut != 7 {
		t.Errorf("%d pairs, %d left out", len(logs.Reads), logs.Files[0].LeftOut)
	}
}

// repeated gives s again and again, n times, and looks at the heap in the middle.
type repeated struct {
	s, rest string
	n, half int
	heap    uint64
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.n == 0 {
			return 0, io.EOF
		}
		if r.n, r.rest = r.n-1, r.s; r.n == r.half {
			r.heap = heap()
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// TestMemory: of a log that is read nothing stays but who read what. It is not
// parallel, since it looks at the heap.
func TestMemory(t *testing.T) {
	const times = 8000 // 5 MiB
	lines := &repeated{s: oneLine(gcpEntry) + "\n", n: times, half: times / 2}
	document := &repeated{s: gcpEntry + ",", n: times, half: times / 2}
	before := heap()
	for name, in := range map[string]io.Reader{
		"lines": lines, "document": io.MultiReader(strings.NewReader("["), document, strings.NewReader(gcpEntry+"]")),
	} {
		r := reader{ctx: t.Context(), reads: map[pair]*Read{}, file: &File{Spans: map[string]Span{}}}
		if err := r.log(in); err != nil || r.file.Reads < times || len(r.reads) != 1 {
			t.Fatalf("%s: %d reads, %d pairs, %v", name, r.file.Reads, len(r.reads), err)
		}
	}
	for name, at := range map[string]uint64{"lines": lines.heap, "document": document.heap} {
		if grown := int64(at) - int64(before); at == 0 || grown > 1<<20 {
			t.Errorf("%s: %d KiB are in memory when half of it is read", name, grown>>10)
		}
	}
}

func FuzzLog(f *testing.F) {
	for _, s := range []string{gcpEntry, awsEntry, vaultEntry, `{"Records":[` + awsEntry + `]}`, "[" + gcpEntry + "]", lookup(""), oneLine(gcpEntry) + "\n" + oneLine(vaultEntry), packed(f, oneLine(awsEntry))} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := reader{ctx: t.Context(), reads: map[pair]*Read{}, file: &File{Spans: map[string]Span{}}}
		err := r.log(bytes.NewReader(raw))
		if r.file.Reads > 0 && len(r.file.Spans) == 0 {
			t.Error("reads of no provider")
		}
		for _, read := range r.reads {
			if read.Count < 1 || read.Refused > read.Count || read.Secret == "" || read.Last.Before(read.First) {
				t.Errorf("%+v", read)
			}
		}
		entries := 0
		for _, s := range r.file.Spans {
			entries += s.Entries
		}
		if err == nil && entries+r.file.Malformed == 0 && len(bytes.TrimSpace(raw)) > 0 && r.file.Cut == "" && !emptyDocument(raw) {
			t.Errorf("%q was read without an entry and without a word", raw)
		}
	})
}

// emptyDocument reports whether nothing but signs of JSON and keys without entries may be there.
func emptyDocument(raw []byte) bool {
	return bytes.HasPrefix(raw, []byte("\x1f\x8b")) || bytes.HasPrefix(raw, []byte("\ufeff")) || bytes.ContainsAny(raw[:min(len(raw), 4<<10)], "[{")
}
