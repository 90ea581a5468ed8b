package manifest

import "slices"

// podKind says where the objects of one custom kind, of any version, hold what
// their controller makes pods of.
type podKind struct {
	group, kind string
	as          string // the built-in kind that they are judged as: of several like pods, of batch, of one pod
	// paths lead to it: "spec.template", "spec.tasks[*].template", and with * for
	// every field "spec.tfReplicaSpecs.*.template".
	paths []string
	shape shape
	// replicas leads to the number of pods; empty: beside the template.
	replicas string
	// instead are fields with which an object makes no pods of its own.
	instead []string
}

// shape is what stands at the end of a path.
type shape int

const (
	template shape = iota // metadata and spec, as in a Deployment
	podSpec               // containers and the rest of a pod's spec
	knative               // a template with the defaults of Knative
	ray                   // a template of which KubeRay probes the first container
	workflow              // one template of Argo Workflows
	sensor                // a template of Argo Events with one container
	tekton                // a Task's spec: steps and sidecars
	injected              // containers that are put into pods of others
	operated              // a spec of the Prometheus operator
)

// podKinds are the custom kinds whose pods are judged. The paths are those of
// the projects' own CustomResourceDefinitions.
var podKinds = []podKind{
	{group: "actions.github.com", kind: "AutoscalingRunnerSet", as: "Job", paths: []string{"spec.template"}},
	{group: "actions.github.com", kind: "EphemeralRunner", as: "Job", paths: []string{"spec"}},
	{group: "actions.github.com", kind: "EphemeralRunnerSet", as: "Job", paths: []string{"spec.ephemeralRunnerSpec"}},
	{group: "agones.dev", kind: "Fleet", as: "Deployment", paths: []string{"spec.template.spec.template"}, replicas: "spec.replicas"},
	{group: "agones.dev", kind: "GameServer", as: "Pod", paths: []string{"spec.template"}},
	{group: "agones.dev", kind: "GameServerSet", as: "Deployment", paths: []string{"spec.template.spec.template"}, replicas: "spec.replicas"},
	{group: "apps.kruise.io", kind: "AdvancedCronJob", as: "Job", paths: []string{"spec.template.jobTemplate.spec.template", "spec.template.broadcastJobTemplate.spec.template"}, instead: []string{"spec.template.imageListPullJobTemplate"}},
	{group: "apps.kruise.io", kind: "BroadcastJob", as: "Job", paths: []string{"spec.template"}},
	{group: "apps.kruise.io", kind: "CloneSet", as: "Deployment", paths: []string{"spec.template"}},
	{group: "apps.kruise.io", kind: "DaemonSet", as: "DaemonSet", paths: []string{"spec.template"}},
	{group: "apps.kruise.io", kind: "SidecarSet", as: "Pod", paths: []string{"spec"}, shape: injected},
	{group: "apps.kruise.io", kind: "StatefulSet", as: "StatefulSet", paths: []string{"spec.template"}},
	{group: "apps.kruise.io", kind: "UnitedDeployment", as: "Deployment", replicas: "spec.replicas", paths: []string{
		"spec.template.advancedStatefulSetTemplate.spec.template", "spec.template.cloneSetTemplate.spec.template", "spec.template.deploymentTemplate.spec.template", "spec.template.statefulSetTemplate.spec.template"}},
	{group: "apps.openshift.io", kind: "DeploymentConfig", as: "Deployment", paths: []string{"spec.template"}},
	{group: "argoproj.io", kind: "ClusterWorkflowTemplate", as: "Job", paths: []string{"spec.templates[*]"}, shape: workflow, instead: []string{"spec.workflowTemplateRef", "spec.templates"}},
	{group: "argoproj.io", kind: "CronWorkflow", as: "Job", paths: []string{"spec.workflowSpec.templates[*]"}, shape: workflow, instead: []string{"spec.workflowSpec.workflowTemplateRef", "spec.workflowSpec.templates"}},
	{group: "argoproj.io", kind: "EventSource", as: "Deployment", paths: []string{"spec.template"}, shape: sensor, replicas: "spec.replicas"},
	{group: "argoproj.io", kind: "Rollout", as: "Deployment", paths: []string{"spec.template"}, instead: []string{"spec.workloadRef"}},
	{group: "argoproj.io", kind: "Sensor", as: "Deployment", paths: []string{"spec.template"}, shape: sensor, replicas: "spec.replicas"},
	{group: "argoproj.io", kind: "Workflow", as: "Job", paths: []string{"spec.templates[*]"}, shape: workflow, instead: []string{"spec.workflowTemplateRef", "spec.templates"}},
	{group: "argoproj.io", kind: "WorkflowTemplate", as: "Job", paths: []string{"spec.templates[*]"}, shape: workflow, instead: []string{"spec.workflowTemplateRef", "spec.templates"}},
	{group: "batch.volcano.sh", kind: "CronJob", as: "Job", paths: []string{"spec.jobTemplate.spec.tasks[*].template"}},
	{group: "batch.volcano.sh", kind: "Job", as: "Job", paths: []string{"spec.tasks[*].template"}},
	{group: "flow.volcano.sh", kind: "JobTemplate", as: "Job", paths: []string{"spec.tasks[*].template"}},
	{group: "jobset.x-k8s.io", kind: "JobSet", as: "Job", paths: []string{"spec.replicatedJobs[*].template.spec.template"}},
	{group: "keda.sh", kind: "ScaledJob", as: "Job", paths: []string{"spec.jobTargetRef.template"}},
	{group: "kubeflow.org", kind: "JAXJob", as: "Job", paths: []string{"spec.jaxReplicaSpecs.*.template"}},
	{group: "kubeflow.org", kind: "MPIJob", as: "Job", paths: []string{"spec.mpiReplicaSpecs.*.template"}},
	{group: "kubeflow.org", kind: "MXJob", as: "Job", paths: []string{"spec.mxReplicaSpecs.*.template"}},
	{group: "kubeflow.org", kind: "Notebook", as: "Pod", paths: []string{"spec.template"}},
	{group: "kubeflow.org", kind: "PaddleJob", as: "Job", paths: []string{"spec.paddleReplicaSpecs.*.template"}},
	{group: "kubeflow.org", kind: "PyTorchJob", as: "Job", paths: []string{"spec.pytorchReplicaSpecs.*.template"}},
	{group: "kubeflow.org", kind: "TFJob", as: "Job", paths: []string{"spec.tfReplicaSpecs.*.template"}},
	{group: "kubeflow.org", kind: "XGBoostJob", as: "Job", paths: []string{"spec.xgbReplicaSpecs.*.template"}},
	{group: "leaderworkerset.x-k8s.io", kind: "LeaderWorkerSet", as: "StatefulSet", paths: []string{"spec.leaderWorkerTemplate.leaderTemplate", "spec.leaderWorkerTemplate.workerTemplate"}, replicas: "spec.replicas"},
	{group: "monitoring.coreos.com", kind: "Alertmanager", as: "StatefulSet", paths: []string{"spec"}, shape: operated},
	{group: "monitoring.coreos.com", kind: "Prometheus", as: "StatefulSet", paths: []string{"spec"}, shape: operated},
	{group: "monitoring.coreos.com", kind: "PrometheusAgent", as: "StatefulSet", paths: []string{"spec"}, shape: operated},
	{group: "monitoring.coreos.com", kind: "ThanosRuler", as: "StatefulSet", paths: []string{"spec"}, shape: operated},
	{group: "ray.io", kind: "RayCluster", as: "Pod", paths: []string{"spec.headGroupSpec.template", "spec.workerGroupSpecs[*].template"}, shape: ray},
	{group: "ray.io", kind: "RayJob", as: "Job", paths: []string{"spec.rayClusterSpec.headGroupSpec.template", "spec.rayClusterSpec.workerGroupSpecs[*].template", "spec.submitterPodTemplate"}, instead: []string{"spec.clusterSelector"}},
	{group: "ray.io", kind: "RayService", as: "Pod", paths: []string{"spec.rayClusterConfig.headGroupSpec.template", "spec.rayClusterConfig.workerGroupSpecs[*].template"}, shape: ray},
	{group: "serving.knative.dev", kind: "Configuration", as: "Deployment", paths: []string{"spec.template"}, shape: knative},
	{group: "serving.knative.dev", kind: "Revision", as: "Deployment", paths: []string{"spec"}, shape: knative},
	{group: "serving.knative.dev", kind: "Service", as: "Deployment", paths: []string{"spec.template"}, shape: knative},
	{group: "tekton.dev", kind: "ClusterTask", as: "Job", paths: []string{"spec"}, shape: tekton},
	{group: "tekton.dev", kind: "Pipeline", as: "Job", paths: []string{"spec.tasks[*].taskSpec", "spec.finally[*].taskSpec"}, shape: tekton, instead: []string{"spec.tasks"}},
	{group: "tekton.dev", kind: "PipelineRun", as: "Job", paths: []string{"spec.pipelineSpec.tasks[*].taskSpec", "spec.pipelineSpec.finally[*].taskSpec"}, shape: tekton, instead: []string{"spec.pipelineRef", "spec.pipelineSpec"}},
	{group: "tekton.dev", kind: "Task", as: "Job", paths: []string{"spec"}, shape: tekton},
	{group: "tekton.dev", kind: "TaskRun", as: "Job", paths: []string{"spec.taskSpec"}, shape: tekton, instead: []string{"spec.taskRef"}},
	{group: "trainer.kubeflow.org", kind: "ClusterTrainingRuntime", as: "Job", paths: []string{"spec.template.spec.replicatedJobs[*].template.spec.template"}},
	{group: "trainer.kubeflow.org", kind: "TrainingRuntime", as: "Job", paths: []string{"spec.template.spec.replicatedJobs[*].template.spec.template"}},
}

// knownImageFields name images of widely used custom resources outside pod
// templates; their operators write the rest of the pods.
var knownImageFields = func() []ImageField {
	var out []ImageField
	for _, s := range []string{
		"apps.kruise.io/ImageListPullJob:spec.images[*]",
		"apps.kruise.io/ImagePullJob:spec.image",
		"ceph.rook.io/CephCluster:spec.cephVersion.image",
		"flink.apache.org/FlinkDeployment:spec.image",
		"flink.apache.org/FlinkSessionJob:spec.image",
		"k8s.mariadb.com/MariaDB:spec.image",
		"kafka.strimzi.io/Kafka:spec.kafka.image",
		"kafka.strimzi.io/Kafka:spec.zookeeper.image",
		"kafka.strimzi.io/KafkaBridge:spec.image",
		"kafka.strimzi.io/KafkaConnect:spec.image",
		"kafka.strimzi.io/KafkaMirrorMaker2:spec.image",
		"kubevirt.io/VirtualMachine:spec.template.spec.volumes[*].containerDisk.image",
		"kubevirt.io/VirtualMachineInstance:spec.volumes[*].containerDisk.image",
		"kubevirt.io/VirtualMachineInstanceReplicaSet:spec.template.spec.volumes[*].containerDisk.image",
		"opentelemetry.io/OpenTelemetryCollector:spec.image",
		"opentelemetry.io/OpenTelemetryCollector:spec.targetAllocator.image",
		"postgresql.cnpg.io/Cluster:spec.imageName",
		"postgresql.cnpg.io/ImageCatalog:spec.images[*].image",
		"postgresql.cnpg.io/ClusterImageCatalog:spec.images[*].image",
		"sparkoperator.k8s.io/ScheduledSparkApplication:spec.template.driver.image",
		"sparkoperator.k8s.io/ScheduledSparkApplication:spec.template.executor.image",
		"sparkoperator.k8s.io/ScheduledSparkApplication:spec.template.image",
		"sparkoperator.k8s.io/SparkApplication:spec.driver.image",
		"sparkoperator.k8s.io/SparkApplication:spec.executor.image",
		"sparkoperator.k8s.io/SparkApplication:spec.image",
		"tekton.dev/StepAction:spec.image",
		"trainer.kubeflow.org/TrainJob:spec.trainer.image",
	} {
		f, err := ParseImageField(s)
		if err != nil {
			panic(err)
		}
		out = append(out, f)
	}
	return out
}()

// kindsOfPods returns what is known of the object's kind: by the table, then by
// what the user says of it. What the user says of a kind of the table adds to it.
func (o *Object) kindsOfPods(extra []ImageField) []podKind {
	gk := o.GroupVersionKind().GroupKind()
	var out []podKind
	for _, k := range podKinds {
		if k.group == gk.Group && k.kind == gk.Kind {
			out = append(out, k)
		}
	}
	for _, f := range extra {
		if f.PodTemplate && f.Group == gk.Group && f.Kind == gk.Kind && !slices.ContainsFunc(out, func(k podKind) bool { return slices.Contains(k.paths, f.Path) }) {
			out = append(out, podKind{group: f.Group, kind: f.Kind, as: f.as(), paths: []string{f.Path}})
		}
	}
	return out
}

// KnownPods is a row of the table of custom kinds whose pods are judged.
type KnownPods struct {
	Group, Kind string
	As          string   // the built-in kind that they are judged as
	Paths       []string // what the pods are made of
}

// AllKnownPods lists the table, sorted.
func AllKnownPods() []KnownPods {
	var out []KnownPods
	for _, k := range podKinds {
		out = append(out, KnownPods{k.group, k.kind, k.as, slices.Clone(k.paths)})
	}
	return out
}

// KnownImages lists the fields that name images outside pod templates, as
// ParseImageField reads them.
func KnownImages() []string { return ImageFields(knownImageFields) }
