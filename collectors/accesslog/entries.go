package accesslog

import (
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// The providers.
const (
	providerGCP   = "gcp"
	providerAWS   = "aws"
	providerVault = "vault"
)

var providers = []string{providerGCP, providerAWS, providerVault}

// entry is one entry of any provider's log, with the fields that tell the providers
// apart and those that say who read what. Everything else is passed over.
type entry struct {
	// Google Cloud: LogEntry with an AuditLog.
	Timestamp    string `json:"timestamp"`
	ProtoPayload *struct {
		ServiceName        string `json:"serviceName"`
		MethodName         string `json:"methodName"`
		ResourceName       string `json:"resourceName"`
		AuthenticationInfo struct {
			PrincipalEmail   string `json:"principalEmail"`
			PrincipalSubject string `json:"principalSubject"`
		} `json:"authenticationInfo"`
		Status struct {
			Code int `json:"code"`
		} `json:"status"`
	} `json:"protoPayload"`

	// AWS: a record of CloudTrail, or an event of lookup-events, which holds one as text.
	EventTime       any    `json:"eventTime"` // a number in what lookup-events wraps around
	EventSource     string `json:"eventSource"`
	EventName       string `json:"eventName"`
	ErrorCode       string `json:"errorCode"`
	CloudTrailEvent string `json:"CloudTrailEvent"`
	UserIdentity    struct {
		Type           string `json:"type"`
		ARN            string `json:"arn"`
		PrincipalID    string `json:"principalId"`
		InvokedBy      string `json:"invokedBy"`
		SessionContext struct {
			SessionIssuer struct {
				ARN string `json:"arn"`
			} `json:"sessionIssuer"`
		} `json:"sessionContext"`
	} `json:"userIdentity"`
	RequestParameters json.RawMessage `json:"requestParameters"`

	// Vault: a line of an audit device.
	Type    string `json:"type"`
	Time    string `json:"time"`
	Error   string `json:"error"`
	Request *struct {
		Operation  string `json:"operation"`
		Path       string `json:"path"`
		MountPoint string `json:"mount_point"`
	} `json:"request"`
	Auth struct {
		DisplayName string `json:"display_name"`
		EntityID    string `json:"entity_id"`
	} `json:"auth"`
}

// event is what an entry says. Without secrets it is no read of one.
type event struct {
	provider  string
	at        time.Time
	secrets   []string
	mount     string
	principal string
	refused   bool
}

var (
	errUnknown = errors.New("it is no entry of an audit log of Google Cloud, CloudTrail or Vault")
	errNoTime  = errors.New("it has no time that can be read")
	errNoName  = errors.New("it is a read of a secret that it does not name")
)

// event reads an entry; the error says why it is none, in words that quote nothing of it.
func (e *entry) event() (event, error) {
	switch {
	case e.ProtoPayload != nil:
		return e.gcp()
	case e.CloudTrailEvent != "":
		var inner entry
		if json.Unmarshal([]byte(e.CloudTrailEvent), &inner) != nil || inner.CloudTrailEvent != "" {
			return event{}, errUnknown
		}
		return inner.event()
	case e.EventSource != "" && e.EventName != "":
		return e.aws()
	case e.Request != nil && (e.Type == "request" || e.Type == "response"):
		return e.vault()
	}
	return event{}, errUnknown
}

func (e *entry) gcp() (event, error) {
	at, err := stamp(e.Timestamp)
	ev, p := event{provider: providerGCP, at: at}, e.ProtoPayload
	if err != nil || p.ServiceName != "secretmanager.googleapis.com" || !strings.HasSuffix(p.MethodName, "AccessSecretVersion") {
		return ev, err
	}
	// projects/P/secrets/NAME/versions/V, or with locations/L before secrets.
	name, _, _ := strings.Cut(p.ResourceName, "/versions/")
	if _, short, ok := strings.Cut(name, "/secrets/"); !ok || short == "" {
		return ev, errNoName
	}
	ev.secrets, ev.refused = []string{clip(name)}, p.Status.Code != 0
	ev.principal = clip(p.AuthenticationInfo.PrincipalEmail)
	if ev.principal == "" {
		ev.principal = clip(p.AuthenticationInfo.PrincipalSubject)
	}
	return ev, nil
}

func (e *entry) aws() (event, error) {
	text, _ := e.EventTime.(string)
	at, err := stamp(text)
	ev := event{provider: providerAWS, at: at, refused: e.ErrorCode != ""}
	if err != nil || e.EventSource != "secretsmanager.amazonaws.com" || e.EventName != "GetSecretValue" && e.EventName != "BatchGetSecretValue" {
		return ev, err
	}
	var p struct {
		SecretID     string   `json:"secretId"`
		SecretIDList []string `json:"secretIdList"`
	}
	if len(e.RequestParameters) > 0 && json.Unmarshal(e.RequestParameters, &p) != nil {
		return ev, errNoName
	}
	for _, s := range append(p.SecretIDList, p.SecretID) {
		if s != "" {
			ev.secrets = append(ev.secrets, clip(s))
		}
	}
	// A refused request may stand there without its parameters, and a batch by filters
	// is followed by an entry for each secret that it gave.
	if len(ev.secrets) == 0 && !ev.refused && e.EventName != "BatchGetSecretValue" {
		return ev, errNoName
	}
	u := e.UserIdentity
	for _, name := range []string{u.SessionContext.SessionIssuer.ARN, u.ARN, u.InvokedBy, u.PrincipalID} {
		if name != "" {
			ev.principal = clip(name)
			break
		}
	}
	return ev, nil
}

func (e *entry) vault() (event, error) {
	at, err := stamp(e.Time)
	ev, r := event{provider: providerVault, at: at, refused: e.Error != ""}, e.Request
	// Each request is followed by its response; the one is counted.
	if err != nil || e.Type != "response" || r.Operation != "read" {
		return ev, err
	}
	path := strings.Trim(r.Path, "/")
	switch first, _, _ := strings.Cut(path, "/"); first {
	case "":
		return ev, errNoName
	case "sys", "auth", "identity":
		return ev, nil
	}
	ev.secrets, ev.mount, ev.principal = []string{clip(path)}, clip(strings.Trim(r.MountPoint, "/")), clip(e.Auth.DisplayName)
	if ev.principal == "" {
		ev.principal = clip(e.Auth.EntityID)
	}
	return ev, nil
}

func stamp(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 2000 || t.Year() > 9999 {
		return time.Time{}, errNoTime
	}
	return t.UTC(), nil
}

// clip bounds a name. One that was clipped is nobody's name and matches no pattern.
func clip(s string) string {
	const most = 512
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	n := most
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + clipped
}

const clipped = "…"
