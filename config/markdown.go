package config

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// Markdown returns docs/configuration.md: every key with its flag, environment
// variable, default and allowed values.
func Markdown() []byte {
	var b bytes.Buffer
	b.WriteString(`# Configuration

<!-- Generated from the key table in config/keys.go; run make docs. -->

A value is taken from the first of these places that has it:

1. the command's flag,
2. the environment variable (an empty one counts as unset; lists are separated by commas),
3. the configuration file,
4. the default.

The configuration file is the one that ` + "`--config`" + ` or ` + "`HELMPROOF_CONFIG`" + ` names; else ` + "`./helmproof.yaml`" + `; else
` + "`helmproof/helmproof.yaml`" + ` in the user's configuration folder (` + "`~/.config`" + ` on Linux). Only one file is read. Paths in it
are relative to the file's own directory; elsewhere they are relative to the working directory.

Reading is strict. An unknown key or ` + "`HELMPROOF_`" + ` variable, a key given twice, a wrong type or an impossible value
ends the command with exit code 2 and names the file, the key and what is allowed:

` + "```" + `
helmproof.yaml: kubeVersion: "banana": want a version like 1.37
` + "```" + `

` + "`helmproof config check`" + ` reads everything without running anything; ` + "`helmproof config show`" + ` prints each value and where it
came from, with passwords in URLs redacted. The file can name trusted keys, profiles and waivers: whoever can change it
decides what passes, so keep it where changes are reviewed. The password of a signing key is never configuration: it is read from
` + "`COSIGN_PASSWORD`" + `.

| key | what it is | default |
|---|---|---|
`)
	for _, k := range keys() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.name, cell(k.doc), k.defaultText())
	}
	b.WriteString("\n| key | type | flag | environment variable | allowed |\n|---|---|---|---|---|\n")
	for _, k := range keys() {
		flag := "`--" + k.flag() + "`"
		if k.fileOnly {
			flag = "none"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s |\n", k.name, k.kind, flag, k.env(), cell(k.want))
	}
	b.WriteString(`
Not every command has every flag; ` + "`helmproof COMMAND --help`" + ` lists those that it has. Keys without a flag are set in the
file or in the environment.

An example:

` + "```yaml" + `
repo: gs://evidence-bucket/payments
key: keys/release.key
trust: [keys/release.pub]
roles:
  security: [keys/ada.pub]
  sre: [keys/sre]
profile: chart
namespace: payments
kubeVersion: "1.37"
values: [values-prod.yaml]
waivers: waivers.yaml
formats: [pdf, sarif]
timeout: 5m
` + "```" + `

## A profile of your own

A profile names the controls that must hold ([controls.md](controls.md) has them all). ` + "`failOn`" + ` is the lowest severity of a failing
finding that fails its control; what is below is shown as a warning. ` + "`maxAge`" + ` is how old evidence may be when ` + "`gate`" + ` uses it.
Both can be set for one control. An optional control is shown and decides nothing. With ` + "`declared: true`" + `
a control takes the reason that an object gives itself for an answer: its finding is a warning, shown with the reason, and needs no waiver. One without ` + "`declared`" + ` does not, and whatever
else the control finds fails. The reason, ten visible characters or more, is an annotation of the object, ` + "`helmproof.companyos.github.io/declared-ID`" + `:

| control | declared of | in our profiles |
|---|---|---|
| AVL-4 | a Deployment or StatefulSet whose own count is 1 | accepted |
| SEC-2 | a workload that leaves user and groups to the platform, as OpenShift wants it, where every container has ` + "`runAsNonRoot: true`" + ` and none is user 0 | accepted |
| SEC-1 | a DaemonSet on the node's network, or with paths of the node in which it is observed (` + "`/proc`, `/sys`, `/var/log`" + ` and a few more), whole and read-only; never hostPID, hostIPC, sockets or other paths | by node-agent alone |
| SEC-7 | a DaemonSet on the node's network | by node-agent alone |

` + "`scope`" + ` is release, cluster, drill or composed.

` + "```yaml" + `
name: payments
title: Payments
scope: release
failOn: medium
maxAge: 72h
controls:
  - {id: SEC-1}
  - {id: SCR-1, failOn: info}
  - {id: HLT-3, optional: true}
` + "```" + `

### What is asked for counts

What is given to judge by adds its controls to the profile of that run, as a flag, in the file or in the environment:

| given | adds |
|---|---|
| ` + "`--scan`" + `, ` + "`--scan-report`" + ` | IMG-2, IMG-3 |
| ` + "`--signature-policy`" + ` | IMG-4 |
| ` + "`--registry-allow`" + ` | IMG-5 |
| ` + "`--resolve`" + ` | IMG-6 |
| ` + "`--policies`" + ` | POL-1, for which all counts that your policies refuse, whatever controls their annotations name |

A control that the profile has as optional becomes required; one that it requires stays as it is. In a built-in profile an added control is
as the profile ` + "`images`" + ` has it (IMG-2 fails from high on); in one of your own it takes the profile's ` + "`failOn`" + ` and ` + "`maxAge`" + `. The sealed
` + "`profile.yaml`" + ` keeps its name and marks each with ` + "`added: true`" + `: terminal, reports and ` + "`added`" + ` in JSON say so, and its digest is another one. Adding makes
a profile stricter only, so that what asks for a verdict by its name (` + "`attach policy --verdict-profile`" + `, the level of the verification summary)
is answered. ` + "`gate`" + ` counts what its own configuration asks for, and what was added to the profile of the newest evidence by the profile of that name.

## Waivers

A waiver accepts failing findings of one control until a date. It also accepts findings that could not be checked, which
otherwise make the verdict INCOMPLETE; it never accepts a check or a collector that broke. All keys are needed. The target says
what is accepted, by ` + "`rule`" + `, ` + "`kind`" + `, ` + "`name`" + `, ` + "`namespace`" + ` and ` + "`container`" + `; what is left out matches all, at least one must be given, and
` + "`*`" + ` and ` + "`?`" + ` are wildcards. A date means its first moment in UTC; at that moment the waiver has no effect any more.

At the gate its profile bounds waivers: they end within a year, have no wildcard, and name an object by ` + "`name`" + `, or a rule
narrower than those of the control. Others are shown as refused. A profile of your own can say otherwise: ` + "`waivers: {maxAge: 2160h, wildcards: true}`" + `.

Findings stay in the evidence and in the reports. Every waiver is shown: applied, expired, refused or unused.

` + "```yaml" + `
waivers:
  - control: CHT-3
    target: {rule: helm/crd-schema, kind: Certificate, name: payments}
    reason: The CustomResourceDefinition is installed by the platform, and its own tests cover this object.
    approvedBy: Ada Lovelace, platform security
    expiresAt: 2027-03-31
` + "```" + `

## Policies of your own

` + "`policies`" + ` is a directory of ValidatingAdmissionPolicies, with bindings and params where they have them. All of them count for
POL-1. Annotations say more about a policy:

` + "```yaml" + `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: memory-limit
  annotations:
    helmproof.companyos.github.io/controls: RES-2, RES-3
    helmproof.companyos.github.io/severity: medium
    helmproof.companyos.github.io/title: No container may use more than 4Gi
    helmproof.companyos.github.io/remediation: Set resources.limits.memory to 4Gi at most.
spec:
  matchConstraints:
    resourceRules:
      - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  validations:
    - expression: object.spec.template.spec.containers.all(c, quantity(c.resources.limits.memory).compareTo(quantity('4Gi')) <= 0)
      message: A container may use more than 4Gi of memory.
` + "```" + `

What the policy refuses or cannot decide counts against the controls that it names, too. What it accepts, only warns of, or is not
about never counts for them: a policy of your own makes a control stricter, and satisfies none but POL-1.
`)
	return b.Bytes()
}

func (k key) defaultText() string {
	if k.shown != "" {
		return cell(k.shown)
	}
	c := &Config{}
	if err := k.set(c, k.value); err != nil {
		panic("config key " + k.name + ": default: " + err.Error()) // the package's tests run it
	}
	if s := k.String(c); s != "" {
		return "`" + s + "`"
	}
	return "none"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// ControlsMarkdown returns docs/controls.md: the whole catalog, by group.
func ControlsMarkdown() []byte {
	_, c := Catalog()
	var b bytes.Buffer
	b.WriteString(`# Controls

<!-- Generated from config/catalog.yaml and config/profiles; run make docs. -->

A control is one testable requirement. A finding names the controls that it counts for; the gate decides each control from
its findings, and the verdict from the controls of a profile. Ids are stable for ever: a retired one is never used again.
` + "`helmproof controls ID`" + ` explains one.

Rules count for the controls that name them here, and for no others. A name with \* at the end is for what starts so and is
named nowhere itself: the rule of a policy of your own is ` + "`policy/<its name>`" + `, and counts for POL-1.

What is said of pods, containers and replicated workloads holds for Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs,
CronJobs and PodTemplates, and for the custom resources of [pod-templates.md](pod-templates.md). What looks like a pod template in a kind that nobody knows is not checked.

References say which part of a framework a control gives evidence for. They do not say that the part is fulfilled.

## Profiles

| profile | scope | required | fails from | evidence at most | what it is |
|---|---|--:|---|---|---|
`)
	in := map[evidence.ControlID][]string{}
	for _, name := range Profiles() {
		_, p, err := Profile(name)
		if err != nil {
			panic("embedded profile " + name + ": " + err.Error()) // the package's tests parse it
		}
		required := 0
		for _, pc := range p.Controls {
			in[pc.ID] = append(in[pc.ID], name)
			if !pc.Optional {
				required++
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %d | %s | %s | %s |\n", p.Name, p.Scope, required, p.FailOn, shortDuration(time.Duration(p.MaxAge)), cell(p.Description))
	}
	for _, g := range c.Groups {
		fmt.Fprintf(&b, "\n## %s: %s\n\n", g.ID, g.Title)
		b.WriteString("| control | what must hold | severity | decided by | profiles |\n|---|---|---|---|---|\n")
		for _, x := range c.Controls {
			if x.Group != g.ID {
				continue
			}
			fmt.Fprintf(&b, "| **%s** %s | %s | %s | %s: %s | %s |\n", x.ID, cell(x.Title), cell(x.Statement), x.Severity,
				x.Collector, code(x.Rules), strings.Join(in[x.ID], ", "))
		}
		b.WriteString("\n| control | remediation | references |\n|---|---|---|\n")
		for _, x := range c.Controls {
			if x.Group != g.ID {
				continue
			}
			var refs []string
			for _, f := range c.Frameworks {
				if r := x.Frameworks[f.ID]; len(r) > 0 {
					refs = append(refs, fmt.Sprintf("%s: %s", f.ID, cell(strings.Join(r, "; "))))
				}
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", x.ID, cell(x.Remediation), strings.Join(refs, "<br>"))
		}
	}
	b.WriteString("\n## Frameworks\n\n| id | framework |\n|---|---|\n")
	for _, f := range c.Frameworks {
		fmt.Fprintf(&b, "| %s | [%s](%s) |\n", f.ID, cell(f.Title), f.URL)
	}
	return b.Bytes()
}

func code(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = "`" + s + "`"
	}
	return strings.Join(out, ", ")
}
