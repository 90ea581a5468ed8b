// Package benchtest is a stand-in for an API server, as much of one as a run of
// kube-bench needs: tests make it misbehave as a real one cannot be made to. The
// end-to-end tests use a real cluster.
package benchtest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// Log is what the Job's container prints for kube-bench's output raw.
func Log(raw []byte, exit int, stderr string) []byte {
	var z, b bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(raw) // into memory
	_ = w.Close()
	b.WriteString("helmproof-output/1 begin\n")
	for text := base64.StdEncoding.EncodeToString(z.Bytes()); text != ""; {
		n := min(76, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	if exit != 0 || len(raw) == 0 {
		b.WriteString("helmproof-output/1 errors " + base64.StdEncoding.EncodeToString([]byte(stderr)) + "\n")
	}
	fmt.Fprintf(&b, "helmproof-output/1 end exit=%d bytes=%d sha256=%x\n", exit, len(raw), sha256.Sum256(raw))
	return b.Bytes()
}

// Output is kube-bench's output for these targets, with that many checks
// each; the first check has the status first.
func Output(benchmark, first string, checks int, targets ...string) []byte {
	section := map[string]int{"master": 1, "etcd": 2, "controlplane": 3, "node": 4}
	controls := []map[string]any{}
	for _, target := range targets {
		n, results := map[string]int{}, []map[string]any{}
		for i := range checks {
			status := "PASS"
			if i == 0 {
				status = first
			}
			n[status]++
			results = append(results, map[string]any{
				"test_number": fmt.Sprintf("%d.1.%d", section[target], i+1), "test_desc": fmt.Sprintf("Setting %d is closed (Automated)", i+1), "audit": "stat", "AuditEnv": "", "AuditConfig": "",
				"type": "", "remediation": "Close it.\n", "test_info": []string{"Close it.\n"}, "status": status, "actual_value": "permissions=644", "scored": true, "IsMultiple": false,
				"expected_result": "permissions has permissions 644, expected 600 or more restrictive",
			})
		}
		controls = append(controls, map[string]any{
			"id": fmt.Sprint(section[target]), "version": benchmark, "detected_version": "none", "text": target, "node_type": target,
			"tests":      []map[string]any{{"section": fmt.Sprintf("%d.1", section[target]), "type": "", "desc": target, "pass": n["PASS"], "fail": n["FAIL"], "warn": n["WARN"], "info": 0, "results": results}},
			"total_pass": n["PASS"], "total_fail": n["FAIL"], "total_warn": n["WARN"], "total_info": 0,
		})
	}
	raw, err := json.Marshal(controls)
	if err != nil {
		panic(err) // maps of text and numbers
	}
	return raw
}

// State is how a node's Job stands when it is looked at.
type State struct {
	Job     batchv1.JobConditionType // empty: it runs
	Reason  string
	Message string
	Phase   corev1.PodPhase // of its pod; empty: there is no pod
	Waiting string          // why the pod waits
}

// Done is a Job that is complete.
var Done = State{Job: batchv1.JobComplete, Phase: corev1.PodSucceeded}

// Server answers for one cluster. Its hooks are called with the lock held: they
// must not call the Server's methods.
type Server struct {
	URL string
	// Job says how the Job on a node stands at the n-th look (from 1).
	Job func(node string, n int) State
	// Log is what the n-th reading (from 1) of the node's log gives.
	Log func(node string, n int) []byte
	// Refuse may answer a request by an HTTP status; 0 lets it pass.
	Refuse func(method, path string) int
	// Other may answer what has nothing to do with kube-bench; false leaves a request
	// to the Server.
	Other func(w http.ResponseWriter, r *http.Request) bool
	// Created is told of every Job that is made.
	Created func(node string, job *batchv1.Job)
	// Stuck keeps namespaces from going until their pods are deleted by force.
	Stuck bool

	mu         sync.Mutex
	nodes      map[string]*corev1.Node
	namespaces map[string]*corev1.Namespace
	jobs       map[string]*job // by namespace/name
	serial     int
	requests   int
	logs       map[string]int
}

type job struct {
	*batchv1.Job
	node  string
	looks int
}

// New starts a server with these nodes, all complete at the first look; close
// it with Close.
func New(nodes ...*corev1.Node) (*Server, func()) {
	s := &Server{
		nodes: map[string]*corev1.Node{}, jobs: map[string]*job{}, logs: map[string]int{},
		namespaces: map[string]*corev1.Namespace{"kube-system": {ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "0c1a5be0-0000-4000-8000-000000000001"}}},
		Job:        func(string, int) State { return Done },
		Log:        func(string, int) []byte { return nil },
	}
	for _, n := range nodes {
		s.AddNode(n)
	}
	h := httptest.NewServer(http.HandlerFunc(s.serve))
	s.URL = h.URL
	return s, h.Close
}

// Node is a ready Linux node; roles are the ends of its node-role labels.
func Node(name string, roles ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for _, r := range roles {
		n.Labels["node-role.kubernetes.io/"+r] = ""
	}
	n.Status.NodeInfo = corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64", KubeletVersion: "v1.34.1"}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return n
}

// AddNode adds a node, with a UID of its own.
func (s *Server) AddNode(n *corev1.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(n)
}

func (s *Server) add(n *corev1.Node) {
	s.serial++
	n.UID = types.UID(fmt.Sprintf("node-%d", s.serial))
	s.nodes[n.Name] = n
}

// Replace removes and adds nodes from within a hook.
func (s *Server) Replace(remove string, add *corev1.Node) {
	delete(s.nodes, remove)
	if add != nil {
		s.add(add)
	}
}

// AddNamespace adds a namespace that is there already.
func (s *Server) AddNamespace(ns *corev1.Namespace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.namespaces[ns.Name] = ns
}

// Identify gives kube-system another UID: the cluster's fingerprint.
func (s *Server) Identify(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.namespaces["kube-system"].UID = types.UID(uid)
}

// Namespaces are the names of all namespaces but kube-system, sorted.
func (s *Server) Namespaces() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.namespaces)), func(n string) bool { return n == "kube-system" })
}

// Requests is how many there were.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Kubeconfig is a kubeconfig for the server.
func (s *Server) Kubeconfig() []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: %q}}]
contexts: [{name: test, context: {cluster: test, user: nobody}}]
users: [{name: nobody, user: {}}]
`, s.URL)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.Refuse != nil {
		if code := s.Refuse(r.Method, r.URL.Path); code != 0 {
			if code == http.StatusTooManyRequests {
				w.Header().Set("Retry-After", "0")
			}
			status(w, code, "refused by the test")
			return
		}
	}
	if s.Other != nil && s.Other(w, r) {
		return
	}
	p := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	at := func(i int) string {
		if i < len(p) {
			return p[i]
		}
		return ""
	}
	switch {
	case r.URL.Path == "/version":
		answer(w, map[string]string{"major": "1", "minor": "34", "gitVersion": "v1.34.1"})
	case at(2) == "nodes":
		list := &corev1.NodeList{}
		for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
			list.Items = append(list.Items, *s.nodes[name])
		}
		answer(w, list)
	case at(2) == "namespaces" && len(p) <= 4:
		s.namespace(w, r, at(3))
	case at(4) == "jobs" || at(5) == "jobs":
		ns, name := at(3), at(5)
		if at(5) == "jobs" {
			ns, name = at(4), at(6)
		}
		s.job(w, r, ns, name)
	case at(4) == "pods" && at(6) == "log":
		j := s.jobs[at(3)+"/"+strings.TrimSuffix(at(5), "-pod")]
		if j == nil {
			status(w, http.StatusNotFound, "no such pod")
			return
		}
		s.logs[j.node]++
		_, _ = w.Write(s.Log(j.node, s.logs[j.node]))
	case at(4) == "pods":
		s.pods(w, r, at(3))
	default:
		status(w, http.StatusNotFound, "nothing at "+r.URL.Path)
	}
}

func (s *Server) namespace(w http.ResponseWriter, r *http.Request, name string) {
	switch r.Method {
	case http.MethodPost:
		ns := &corev1.Namespace{}
		if err := read(r, ns); err != nil {
			status(w, http.StatusBadRequest, err.Error())
			return
		}
		s.serial++
		ns.UID = types.UID(fmt.Sprintf("ns-%d", s.serial))
		ns.Status.Phase = corev1.NamespaceActive
		s.namespaces[ns.Name] = ns
		answer(w, ns)
	case http.MethodGet:
		if name == "" {
			list := &corev1.NamespaceList{}
			for _, n := range slices.Sorted(maps.Keys(s.namespaces)) {
				if matches(r.URL.Query().Get("labelSelector"), s.namespaces[n].Labels) {
					list.Items = append(list.Items, *s.namespaces[n])
				}
			}
			answer(w, list)
			return
		}
		if ns := s.namespaces[name]; ns != nil {
			answer(w, ns)
			return
		}
		status(w, http.StatusNotFound, "no such namespace")
	case http.MethodDelete:
		ns := s.namespaces[name]
		if ns == nil {
			status(w, http.StatusNotFound, "no such namespace")
			return
		}
		if s.Stuck {
			ns.Status.Phase = corev1.NamespaceTerminating
		} else {
			s.remove(name)
		}
		answer(w, ns)
	}
}

func (s *Server) remove(ns string) {
	delete(s.namespaces, ns)
	maps.DeleteFunc(s.jobs, func(k string, _ *job) bool { return strings.HasPrefix(k, ns+"/") })
}

func matches(selector string, labels map[string]string) bool {
	for _, part := range strings.Split(selector, ",") {
		if k, v, ok := strings.Cut(part, "="); ok && labels[k] != v {
			return false
		}
	}
	return true
}

func (s *Server) job(w http.ResponseWriter, r *http.Request, ns, name string) {
	if r.Method == http.MethodPost {
		j := &batchv1.Job{}
		if err := read(r, j); err != nil {
			status(w, http.StatusBadRequest, err.Error())
			return
		}
		if s.namespaces[ns] == nil {
			status(w, http.StatusNotFound, "no such namespace")
			return
		}
		s.serial++
		j.Name = fmt.Sprintf("%s%d", j.GenerateName, s.serial)
		node := j.Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0]
		s.jobs[ns+"/"+j.Name] = &job{Job: j, node: node}
		if s.Created != nil {
			s.Created(node, j)
		}
		answer(w, j)
		return
	}
	j := s.jobs[ns+"/"+name]
	if j == nil {
		status(w, http.StatusNotFound, "no such Job")
		return
	}
	if r.Method == http.MethodDelete {
		delete(s.jobs, ns+"/"+name)
		answer(w, j.Job)
		return
	}
	j.looks++
	if st := s.Job(j.node, j.looks); st.Job != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: st.Job, Status: corev1.ConditionTrue, Reason: st.Reason, Message: st.Message}}
	}
	answer(w, j.Job)
}

func (s *Server) pods(w http.ResponseWriter, r *http.Request, ns string) {
	if r.Method == http.MethodDelete {
		if s.Stuck {
			s.remove(ns)
		}
		answer(w, &corev1.PodList{})
		return
	}
	list := &corev1.PodList{}
	for _, k := range slices.Sorted(maps.Keys(s.jobs)) {
		j := s.jobs[k]
		if !strings.HasPrefix(k, ns+"/") || !strings.HasSuffix(r.URL.Query().Get("labelSelector"), "="+j.Name) {
			continue
		}
		st := s.Job(j.node, j.looks)
		if st.Phase == "" {
			continue
		}
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: j.Name + "-pod", Namespace: ns}, Spec: j.Spec.Template.Spec, Status: corev1.PodStatus{Phase: st.Phase}}
		if st.Waiting != "" {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: st.Waiting}}
		}
		list.Items = append(list.Items, pod)
	}
	answer(w, list)
}

// read decodes what a client sent, in whichever of Kubernetes' encodings.
func read(r *http.Request, into runtime.Object) error {
	raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return err
	}
	_, _, err = scheme.Codecs.UniversalDeserializer().Decode(raw, nil, into)
	return err
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that went away is not the test's concern
}

func status(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	reason := map[int]metav1.StatusReason{403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound, 429: metav1.StatusReasonTooManyRequests}[code]
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reason, Message: message})
}
