{{- /* What does not render, and why. Each message names the value, the reason, and what to do. */}}

{{- /* "yes" where a reason has ten characters that one sees. */}}
{{- define "platform.said" -}}
{{- if ge (len (regexFindAll "[^\\s\\pC\\pZ\\p{Mn}\\p{Me}\\x{034F}\\x{115F}\\x{1160}\\x{17B4}\\x{17B5}\\x{2800}\\x{3164}\\x{FFA0}\\x{FFFD}]" (. | default "") 10)) 10 }}yes{{ end }}
{{- end }}

{{- /* The label values of one namespace: dict at, ps. */}}
{{- define "platform.checkPodSecurity" -}}
{{- if and (ne .ps.enforce "restricted") (not (include "platform.said" .ps.reason)) }}
{{- fail (printf "%spodSecurity.enforce is %s: pods there could take over their node. Leave it restricted; if that cannot be, say why in %spodSecurity.reason (control ADM-1 fails, and shows it)" .at .ps.enforce .at) }}
{{- end }}
{{- if eq .ps.version "latest" }}
{{- fail (printf "%spodSecurity.version is latest: an upgrade of the cluster could refuse pods that ran before. Pin a version such as v1.34, and raise it on purpose" .at) }}
{{- end }}
{{- end }}

{{- /* dict at, store, namespaces. */}}
{{- define "platform.checkStore" -}}
{{- $s := .store }}
{{- $at := .at }}
{{- range $key := list "accessKeyID" "secretAccessKey" "token" "password" "credentials" "serviceAccountKey" "auth" }}
{{- if hasKey $s $key }}
{{- fail (printf "%s.%s: credentials do not belong in values, where they end in version control and in the release. Name a service account in serviceAccount; it signs in by workload identity (GCP, Azure), IAM role (AWS) or Kubernetes auth (Vault)" $at $key) }}
{{- end }}
{{- end }}
{{- if lt (int $s.refreshInterval) 1 }}
{{- fail (printf "%s.refreshInterval is %d: the store would not be checked at an interval of yours. Set seconds above 0, such as 300" $at (int $s.refreshInterval)) }}
{{- end }}
{{- if eq $s.kind "SecretStore" }}
{{- if not $s.namespace }}
{{- fail (printf "%s.namespace is missing: a SecretStore lives in one namespace. Name it, or use kind ClusterSecretStore" $at) }}
{{- end }}
{{- else if not $s.namespaces }}
{{- fail (printf "%s.namespaces is empty: every namespace of the cluster could read every secret of the store. List those that may use it" $at) }}
{{- end }}
{{- $providers := list }}
{{- range $p := list "gcp" "aws" "azure" "vault" "fake" }}
{{- if hasKey $s $p }}{{ $providers = append $providers $p }}{{ end }}
{{- end }}
{{- if ne (len $providers) 1 }}
{{- fail (printf "%s has %d providers: want exactly one of gcp, aws, azure, vault, fake" $at (len $providers)) }}
{{- end }}
{{- if hasKey $s "fake" }}
{{- if not $s.fake.testOnly }}
{{- fail (printf "%s.fake: its values stand in the release, in plain text. Use gcp, aws, azure or vault; for a test set fake.testOnly to true" $at) }}
{{- end }}
{{- else if not (and $s.serviceAccount $s.serviceAccount.name) }}
{{- fail (printf "%s.serviceAccount.name is missing: the store signs in as a service account, never with a stored key" $at) }}
{{- else if and (eq $s.kind "ClusterSecretStore") (not $s.serviceAccount.namespace) }}
{{- fail (printf "%s.serviceAccount.namespace is missing: a ClusterSecretStore is in no namespace, so its service account needs one" $at) }}
{{- end }}
{{- with $s.vault }}
{{- if not (hasPrefix "https://" .server) }}
{{- fail (printf "%s.vault.server %s: secrets would cross the network in the clear. Use https://" $at .server) }}
{{- end }}
{{- with .ca }}
{{- if and (eq $s.kind "ClusterSecretStore") (not .namespace) }}
{{- fail (printf "%s.vault.ca.namespace is missing: a ClusterSecretStore is in no namespace, so its certificate needs one" $at) }}
{{- end }}
{{- end }}
{{- end }}
{{- with $s.azure }}
{{- if not (hasPrefix "https://" .vaultURL) }}
{{- fail (printf "%s.azure.vaultURL %s: want the https:// address of the vault, such as https://NAME.vault.azure.net" $at .vaultURL) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* dict at, authority. */}}
{{- define "platform.checkAuthority" -}}
{{- $at := .at }}
{{- $a := .authority }}
{{- if eq (hasKey $a "key") (hasKey $a "keyless") }}
{{- fail (printf "%s: want exactly one of key and keyless" $at) }}
{{- end }}
{{- if $a.noLogReason }}
{{- if $a.keyless }}
{{- fail (printf "%s.noLogReason: a keyless signature is proven by the transparency log alone, since its certificate lives for minutes. Remove it, or sign with a key" $at) }}
{{- end }}
{{- if not (include "platform.said" $a.noLogReason) }}
{{- fail (printf "%s.noLogReason: say why signatures need not be in the transparency log, in ten characters or more" $at) }}
{{- end }}
{{- end }}
{{- range $name := list "rekorURL" "fulcioURL" }}
{{- with get $a $name }}
{{- if not (hasPrefix "https://" .) }}
{{- fail (printf "%s.%s %q: want an https URL" $at $name .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $a.rekorURL $a.noLogReason }}
{{- fail (printf "%s: rekorURL beside noLogReason: the signatures are in a log, or they are not. Leave one out" $at) }}
{{- end }}
{{- if and $a.fulcioURL (not $a.keyless) }}
{{- fail (printf "%s.fulcioURL: only a keyless identity is certified. Leave it out" $at) }}
{{- end }}
{{- if and (or $a.rekorURL $a.fulcioURL) (eq .engine "policy-controller") (not $a.trustRootRef) }}
{{- fail (printf "%s: a log or certificate authority of your own has keys of its own. Make a TrustRoot of policy-controller with them, and name it in trustRootRef" $at) }}
{{- end }}
{{- if and $a.trustRootRef (ne .engine "policy-controller") }}
{{- fail (printf "%s.trustRootRef: it is policy-controller's. With kyverno give rekorPubKey" $at) }}
{{- end }}
{{- if and $a.rekorURL (eq .engine "kyverno") (not $a.rekorPubKey) }}
{{- fail (printf "%s.rekorPubKey is missing: entries of a log of your own are checked by its key (PEM)" $at) }}
{{- end }}
{{- if and $a.fulcioURL (eq .engine "kyverno") (not ($a.keyless).roots) }}
{{- fail (printf "%s.keyless.roots is missing: certificates of an authority of your own are checked by its root (PEM)" $at) }}
{{- end }}
{{- with $a.key }}
{{- if eq (hasKey . "data") (hasKey . "kms") }}
{{- fail (printf "%s.key: want exactly one of data (a public key) and kms" $at) }}
{{- end }}
{{- if contains "PRIVATE KEY" (.data | default "") }}
{{- fail (printf "%s.key.data is a private key: whoever reads the release could sign. Give the public key, and replace this pair: it has been seen" $at) }}
{{- end }}
{{- end }}
{{- with $a.keyless }}
{{- if not (hasPrefix "https://" .issuer) }}
{{- fail (printf "%s.keyless.issuer %q: want the https URL of one issuer" $at .issuer) }}
{{- end }}
{{- if contains "*" .issuer }}
{{- fail (printf "%s.keyless.issuer %s has a wildcard: anybody's issuer could vouch for an image. Name one issuer" $at .issuer) }}
{{- end }}
{{- if eq (hasKey . "subject") (hasKey . "subjectRegExp") }}
{{- fail (printf "%s.keyless: want exactly one of subject and subjectRegExp" $at) }}
{{- end }}
{{- with .subject }}
{{- if contains "*" . }}
{{- fail (printf "%s.keyless.subject %s has a wildcard, which is compared as it stands. Use subjectRegExp" $at .) }}
{{- end }}
{{- end }}
{{- with .subjectRegExp }}
{{- if not (regexMatch "^\\^(https://|[A-Za-z0-9])[^*+|]{7,}.*\\$$" .) }}
{{- fail (printf "%s.keyless.subjectRegExp %s is too wide: anyone the issuer knows could sign. Anchor it with ^ and $, and begin with the fixed part, such as ^https://github\\.com/OWNER/" $at .) }}
{{- end }}
{{- if contains "|" . }}
{{- fail (printf "%s.keyless.subjectRegExp %s has an alternative, whose other side may match anybody. Write one authority each" $at .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "platform.check" -}}
{{- $v := .Values }}
{{- if not $v.namespaces }}
{{- fail "namespaces is empty: nothing would be enforced anywhere. Name one or more" }}
{{- end }}
{{- $seen := list }}
{{- range $i, $n := $v.namespaces }}
{{- $at := printf "namespaces[%d]." $i }}
{{- if has $n.name $seen }}
{{- fail (printf "%sname %s stands twice" $at $n.name) }}
{{- end }}
{{- $seen = append $seen $n.name }}
{{- if and (not (dig "create" true $n)) (or $n.labels $n.annotations $n.podSecurity) }}
{{- fail (printf "%screate is false: labels, annotations and podSecurity of a namespace that others make are theirs to set (the notes have the command). Leave them out, or let this chart adopt it: create true, and helm install --take-ownership" $at) }}
{{- end }}
{{- if or (hasPrefix "kube-" $n.name) (eq $n.name "default") }}
{{- fail (printf "%sname %s: the cluster's own namespaces are not this chart's to make or change. Name one of yours" $at $n.name) }}
{{- end }}
{{- range $key, $_ := $n.labels }}
{{- if or (hasPrefix "pod-security.kubernetes.io/" $key) (hasPrefix "policy.sigstore.dev/" $key) (hasPrefix "helmproof.companyos.github.io/" $key) (hasPrefix "app.kubernetes.io/" $key) }}
{{- fail (printf "%slabels.%s: what is enforced is not set by a label. Use podSecurity, policies and imageSignatures" $at $key) }}
{{- end }}
{{- end }}
{{- $net := mergeOverwrite (deepCopy $v.networkPolicy) ($n.networkPolicy | default dict) }}
{{- if not (or $net.defaultDeny (include "platform.said" $net.reason)) }}
{{- $key := ternary (printf "%snetworkPolicy" $at) "networkPolicy" (hasKey ($n.networkPolicy | default dict) "defaultDeny") }}
{{- fail (printf "%s.defaultDeny is false: every pod could be reached from every other. Leave it true; if that cannot be, say why in %s.reason" $key $key) }}
{{- end }}
{{- include "platform.checkPodSecurity" (dict "at" $at "ps" (mergeOverwrite (deepCopy $v.podSecurity) ($n.podSecurity | default dict))) }}
{{- end }}
{{- $p := $v.policies }}
{{- if not (or $p.enabled (include "platform.said" $p.reason)) }}
{{- fail "policies.enabled is false: nothing would refuse an insecure object. Leave it true; if that cannot be, say why in policies.reason (control ADM-4 fails, and shows it)" }}
{{- end }}
{{- if $p.enabled }}
{{- if not $p.validationActions }}
{{- fail "policies.validationActions is empty: no policy would be bound. Use [Deny, Audit], or [Warn, Audit] while you roll out" }}
{{- end }}
{{- if not (or (has "Deny" $p.validationActions) (include "platform.said" $p.reason)) }}
{{- fail "policies.validationActions has no Deny: insecure objects would be let in. Add Deny; while you roll out, say so in policies.reason (control ADM-4 fails, and shows it)" }}
{{- end }}
{{- if and (has "Deny" $p.validationActions) (has "Warn" $p.validationActions) }}
{{- fail "policies.validationActions: Kubernetes refuses Deny beside Warn, which would say everything twice. Use [Deny, Audit] or [Warn, Audit]" }}
{{- end }}
{{- if not (or $p.namespaceSelector.matchLabels $p.namespaceSelector.matchExpressions) }}
{{- fail "policies.namespaceSelector is empty: kube-system would be held too, and its own pods refused. Select namespaces by label" }}
{{- end }}
{{- range $rule, $why := $p.except }}
{{- if not ($.Files.Get (printf "files/policies/%s.yaml" $rule)) }}
{{- fail (printf "policies.except.%s: there is no such rule. See files/policies" $rule) }}
{{- end }}
{{- if not (include "platform.said" $why) }}
{{- fail (printf "policies.except.%s: say why the rule is not bound, in ten characters or more" $rule) }}
{{- end }}
{{- end }}
{{- $known := list }}
{{- range $i, $e := $p.exemptions }}
{{- $at := printf "policies.exemptions[%d]" $i }}
{{- if has $e.name $known }}
{{- fail (printf "%s.name %s stands twice" $at $e.name) }}
{{- end }}
{{- $known = append $known $e.name }}
{{- if not (include "platform.said" $e.reason) }}
{{- fail (printf "%s.reason: say why the policies do not judge it, in ten characters or more (control ADM-7 shows it)" $at) }}
{{- end }}
{{- if not $e.expires }}
{{- fail (printf "%s.expires is missing: an exemption without an end is forgotten. Give the day, such as 2030-01-31, on which it is looked at again" $at) }}
{{- end }}
{{- if not (or $e.serviceAccount $e.labels $e.names) }}
{{- fail (printf "%s: want at least one of serviceAccount, labels and names; a whole namespace is left out by policies.namespaceSelector" $at) }}
{{- end }}
{{- if not (or $e.serviceAccount $e.namespaces) }}
{{- fail (printf "%s: anybody can write a label or choose a name. Name the serviceAccount that makes the objects, or the namespaces that they are in" $at) }}
{{- end }}
{{- range $rule := $e.rules }}
{{- if not ($.Files.Get (printf "files/policies/%s.yaml" $rule)) }}
{{- fail (printf "%s.rules: there is no rule %s. See files/policies" $at $rule) }}
{{- end }}
{{- end }}
{{- end }}
{{- $bound := 0 }}
{{- range $path, $_ := .Files.Glob "files/policies/*.yaml" }}
{{- if not (hasKey $p.except (trimSuffix ".yaml" (base $path))) }}{{ $bound = add1 $bound }}{{ end }}
{{- end }}
{{- if eq (int $bound) 0 }}
{{- fail "policies.except names every rule: no policy would be bound" }}
{{- end }}
{{- end }}
{{- range $i, $s := $v.secretStores }}
{{- include "platform.checkStore" (dict "at" (printf "secretStores[%d]" $i) "store" $s) }}
{{- end }}
{{- $is := $v.imageSignatures }}
{{- if $is.enabled }}
{{- if not (and $is.images $is.authorities) }}
{{- fail "imageSignatures: images and authorities are required: which images, and who signs them" }}
{{- end }}
{{- range $i, $a := $is.authorities }}
{{- include "platform.checkAuthority" (dict "at" (printf "imageSignatures.authorities[%d]" $i) "authority" $a "engine" $is.engine) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "platform.labels" -}}
app.kubernetes.io/name: platform
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
