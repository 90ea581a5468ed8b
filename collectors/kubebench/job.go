package kubebench

import (
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"github.com/companyos/helmproof/templates/jobs"
)

// mountsFor says for which nodes a volume of the Job means something; a volume
// that is not named here is for all. role and platform are as in NodeRun and
// Overview.
var mountsFor = map[string]func(role, platform string) bool{
	"srv-kubernetes":                  ownControlPlane,
	"var-lib-etcd":                    ownControlPlane,
	"var-lib-kube-scheduler":          ownControlPlane,
	"var-lib-kube-controller-manager": ownControlPlane,
	"home-kubernetes":                 func(_, platform string) bool { return platform == "gke" },
	"var-lib-rancher":                 isRancher,
	"etc-rancher":                     isRancher,
}

func ownControlPlane(role, platform string) bool {
	return !managed(platform) && (strings.Contains(role, controlPlane) || strings.Contains(role, "etcd"))
}

func isRancher(_, platform string) bool { return platform == "rke2" || platform == "k3s" }

// newJob is the Job for one node.
func (r *run) newJob(n *target) (*batchv1.Job, error) {
	job, err := jobrun.FromTemplate(jobs.KubeBench, "kube-bench-", r.o.Image, r.o.NodeTimeout, map[string]string{"BENCHMARK": n.Benchmark, "TARGETS": strings.Join(n.Targets, ",")})
	if err != nil {
		return nil, err
	}
	pod := &job.Spec.Template.Spec
	// A node affinity, as DaemonSets have it, and not spec.nodeName: the scheduler
	// then says why a pod cannot run on the node, and looks at what is free there.
	pod.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{n.node.Name}}},
		}}},
	}}
	pod.Tolerations = tolerations(n.node.Spec.Taints)
	c := &pod.Containers[0]
	drop := func(name string) bool {
		wanted, ok := mountsFor[name]
		return ok && !wanted(n.Role, r.overview.Platform)
	}
	pod.Volumes = slices.DeleteFunc(pod.Volumes, func(v corev1.Volume) bool { return drop(v.Name) })
	c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(v corev1.VolumeMount) bool { return drop(v.Name) })
	return job, nil
}

// tolerations tolerates every taint of the node but the two of a node that does
// not answer: no pod starts there, and one that was bound to it could not be
// removed again before the node comes back or goes.
func tolerations(taints []corev1.Taint) []corev1.Toleration {
	out := []corev1.Toleration{}
	add := func(key string, effect corev1.TaintEffect) {
		t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
		if key != corev1.TaintNodeNotReady && key != corev1.TaintNodeUnreachable && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	for _, t := range taints {
		add(t.Key, t.Effect)
	}
	for _, key := range []string{ // that a node may get while the Job is made
		corev1.TaintNodeUnschedulable, corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure,
		corev1.TaintNodeNetworkUnavailable,
	} {
		add(key, corev1.TaintEffectNoSchedule)
	}
	return out
}
