package apiserver

import (
	"context"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/api/operation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationvalidation "k8s.io/kube-aggregator/pkg/apis/apiregistration/validation"
	jobutil "k8s.io/kubernetes/pkg/api/job"
	pvcutil "k8s.io/kubernetes/pkg/api/persistentvolumeclaim"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/api/resourceclaimspec"
	serviceutil "k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/certificates"
	certificatesvalidation "k8s.io/kubernetes/pkg/apis/certificates/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/discovery"
	discoveryvalidation "k8s.io/kubernetes/pkg/apis/discovery/validation"
	"k8s.io/kubernetes/pkg/apis/resource"
	resourcevalidation "k8s.io/kubernetes/pkg/apis/resource/validation"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/registry/apps/controllerrevision"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	"k8s.io/kubernetes/pkg/registry/batch/cronjob"
	"k8s.io/kubernetes/pkg/registry/certificates/clustertrustbundle"
	"k8s.io/kubernetes/pkg/registry/certificates/podcertificaterequest"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/core/limitrange"
	"k8s.io/kubernetes/pkg/registry/core/podtemplate"
	"k8s.io/kubernetes/pkg/registry/core/resourcequota"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/flowschema"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/prioritylevelconfiguration"
	"k8s.io/kubernetes/pkg/registry/networking/ingress"
	"k8s.io/kubernetes/pkg/registry/networking/ingressclass"
	"k8s.io/kubernetes/pkg/registry/networking/ipaddress"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/networking/servicecidr"
	"k8s.io/kubernetes/pkg/registry/node/runtimeclass"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
	"k8s.io/kubernetes/pkg/registry/resource/deviceclass"
	"k8s.io/kubernetes/pkg/registry/resource/devicetaintrule"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"k8s.io/kubernetes/pkg/registry/storage/csidriver"
	"k8s.io/kubernetes/pkg/registry/storage/csinode"
	"k8s.io/kubernetes/pkg/registry/storage/csistoragecapacity"
	"k8s.io/kubernetes/pkg/registry/storage/storageclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattributesclass"
	"k8s.io/kubernetes/pkg/registry/storagemigration/storagemigration"
	volumevalidation "k8s.io/kubernetes/pkg/volume/validation"

	"github.com/companyos/helmproof/collectors/helm/internal/apiserver/admissionvalidation"
)

const operationCreate = operation.Create

// strategies are the API server's own rules for creating objects of each kind.
var strategies = map[schema.GroupKind]rest.RESTCreateStrategy{
	{Kind: "LimitRange"}:    limitrange.Strategy,
	{Kind: "PodTemplate"}:   podtemplate.Strategy,
	{Kind: "ResourceQuota"}: resourcequota.Strategy,

	{Kind: "ConfigMap"}:             own[*core.ConfigMap]{namespaced: true, validate: plain(corevalidation.ValidateConfigMap)},
	{Kind: "Endpoints"}:             own[*core.Endpoints]{namespaced: true, validate: plain(corevalidation.ValidateEndpointsCreate)},
	{Kind: "Event"}:                 own[*core.Event]{namespaced: true, validate: event},
	{Kind: "Namespace"}:             own[*core.Namespace]{prepare: prepareNamespace, validate: plain(corevalidation.ValidateNamespace)},
	{Kind: "Node"}:                  own[*core.Node]{validate: plain(corevalidation.ValidateNode), gates: []featuregate.Feature{features.InPlacePodVerticalScalingSchedulerPreemption}},
	{Kind: "PersistentVolume"}:      own[*core.PersistentVolume]{prepare: prepareVolume, validate: plain(volume)},
	{Kind: "PersistentVolumeClaim"}: own[*core.PersistentVolumeClaim]{namespaced: true, prepare: prepareClaim, validate: plain(claim)},
	{Kind: "Pod"}:                   own[*core.Pod]{namespaced: true, prepare: preparePod, validate: plain(pod)},
	{Kind: "ReplicationController"}: own[*core.ReplicationController]{namespaced: true, prepare: prepareController, validate: plain(controller)},
	{Kind: "Secret"}:                own[*core.Secret]{namespaced: true, validate: plain(corevalidation.ValidateSecret)},
	{Kind: "Service"}:               own[*core.Service]{namespaced: true, prepare: prepareService, validate: plain(service)},
	{Kind: "ServiceAccount"}:        own[*core.ServiceAccount]{namespaced: true, validate: plain(corevalidation.ValidateServiceAccount)},

	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: own[*apiextensions.CustomResourceDefinition]{prepare: prepareDefinition, validate: apiextensionsvalidation.ValidateCustomResourceDefinition},
	{Group: "apiregistration.k8s.io", Kind: "APIService"}:             own[*apiregistration.APIService]{validate: apiregistrationvalidation.ValidateAPIService},

	{Group: "apps", Kind: "ControllerRevision"}: controllerrevision.Strategy,
	{Group: "apps", Kind: "DaemonSet"}:          daemonset.Strategy,
	{Group: "apps", Kind: "Deployment"}:         deployment.Strategy,
	{Group: "apps", Kind: "ReplicaSet"}:         own[*apps.ReplicaSet]{namespaced: true, prepare: prepareReplicaSet, validate: plain(replicaSet)},
	{Group: "apps", Kind: "StatefulSet"}:        statefulset.Strategy,

	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: horizontalpodautoscaler.Strategy,

	{Group: "batch", Kind: "CronJob"}: cronjob.Strategy,
	{Group: "batch", Kind: "Job"}:     own[*batch.Job]{namespaced: true, prepare: prepareJob, validate: plain(job), gates: []featuregate.Feature{features.WorkloadWithJob}},

	{Group: "certificates.k8s.io", Kind: "ClusterTrustBundle"}:    clustertrustbundle.Strategy,
	{Group: "certificates.k8s.io", Kind: "PodCertificateRequest"}: podcertificaterequest.NewStrategy(),

	{Group: "coordination.k8s.io", Kind: "Lease"}: lease.Strategy,

	{Group: "flowcontrol.apiserver.k8s.io", Kind: "FlowSchema"}:                 flowschema.Strategy,
	{Group: "flowcontrol.apiserver.k8s.io", Kind: "PriorityLevelConfiguration"}: prioritylevelconfiguration.Strategy,

	{Group: "networking.k8s.io", Kind: "Ingress"}:       ingress.Strategy,
	{Group: "networking.k8s.io", Kind: "IngressClass"}:  ingressclass.Strategy,
	{Group: "networking.k8s.io", Kind: "IPAddress"}:     ipaddress.Strategy,
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}: networkpolicy.Strategy,
	{Group: "networking.k8s.io", Kind: "ServiceCIDR"}:   servicecidr.Strategy,

	{Group: "node.k8s.io", Kind: "RuntimeClass"}: runtimeclass.Strategy,

	{Group: "policy", Kind: "PodDisruptionBudget"}: poddisruptionbudget.Strategy,

	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:        clusterrole.Strategy,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}: clusterrolebinding.Strategy,
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:               role.Strategy,
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:        rolebinding.Strategy,

	{Group: "resource.k8s.io", Kind: "DeviceClass"}:     deviceclass.Strategy,
	{Group: "resource.k8s.io", Kind: "DeviceTaintRule"}: devicetaintrule.Strategy,

	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}: priorityclass.Strategy,

	{Group: "storage.k8s.io", Kind: "CSIDriver"}:             csidriver.Strategy,
	{Group: "storage.k8s.io", Kind: "CSINode"}:               csinode.Strategy,
	{Group: "storage.k8s.io", Kind: "CSIStorageCapacity"}:    csistoragecapacity.Strategy,
	{Group: "storage.k8s.io", Kind: "StorageClass"}:          storageclass.Strategy,
	{Group: "storage.k8s.io", Kind: "VolumeAttachment"}:      volumeattachment.Strategy,
	{Group: "storage.k8s.io", Kind: "VolumeAttributesClass"}: volumeattributesclass.Strategy,

	{Group: "storagemigration.k8s.io", Kind: "StorageVersionMigration"}: storagemigration.Strategy,

	{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicy"}:          own[*admissionregistration.MutatingAdmissionPolicy]{validate: plain(admissionvalidation.ValidateMutatingAdmissionPolicy)},
	{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicyBinding"}:   own[*admissionregistration.MutatingAdmissionPolicyBinding]{validate: plain(admissionvalidation.ValidateMutatingAdmissionPolicyBinding)},
	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}:     own[*admissionregistration.MutatingWebhookConfiguration]{validate: plain(admissionvalidation.ValidateMutatingWebhookConfiguration)},
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicy"}:        own[*admissionregistration.ValidatingAdmissionPolicy]{validate: plain(admissionvalidation.ValidateValidatingAdmissionPolicy)},
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicyBinding"}: own[*admissionregistration.ValidatingAdmissionPolicyBinding]{validate: plain(admissionvalidation.ValidateValidatingAdmissionPolicyBinding)},
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}:   own[*admissionregistration.ValidatingWebhookConfiguration]{validate: plain(admissionvalidation.ValidateValidatingWebhookConfiguration)},

	{Group: "certificates.k8s.io", Kind: "CertificateSigningRequest"}: own[*certificates.CertificateSigningRequest]{prepare: prepareRequest, validate: plain(certificatesvalidation.ValidateCertificateSigningRequestCreate)},

	{Group: "discovery.k8s.io", Kind: "EndpointSlice"}: own[*discovery.EndpointSlice]{namespaced: true, prepare: prepareSlice, validate: plain(discoveryvalidation.ValidateEndpointSliceCreate)},

	{Group: "events.k8s.io", Kind: "Event"}: own[*core.Event]{namespaced: true, validate: event},

	{Group: "resource.k8s.io", Kind: "ResourceClaim"}:         own[*resource.ResourceClaim]{namespaced: true, prepare: prepareResourceClaim, validate: plain(resourcevalidation.ValidateResourceClaim), normalize: resourcevalidation.ResourceNormalizationRules},
	{Group: "resource.k8s.io", Kind: "ResourceClaimTemplate"}: own[*resource.ResourceClaimTemplate]{namespaced: true, prepare: prepareResourceClaimTemplate, validate: plain(resourcevalidation.ValidateResourceClaimTemplate), normalize: resourcevalidation.ResourceNormalizationRules},
}

// own stands for a strategy of the API server whose package would link the storage
// that it writes to. Its functions are the strategy's.
type own[T runtime.Object] struct {
	rest.DeclarativeValidation
	names.NameGenerator
	namespaced bool
	prepare    func(T)
	validate   func(context.Context, T) field.ErrorList
	gates      []featuregate.Feature // that declarative rules ask for
	normalize  []field.NormalizationRule
}

func (o own[T]) NamespaceScoped() bool { return o.namespaced }

func (o own[T]) PrepareForCreate(_ context.Context, obj runtime.Object) {
	if o.prepare != nil {
		o.prepare(obj.(T))
	}
}

func (o own[T]) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	return o.validate(ctx, obj.(T))
}

func (own[T]) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }

func (own[T]) Canonicalize(runtime.Object) {}

func (o own[T]) DeclarativeValidationConfig(context.Context, runtime.Object, runtime.Object) rest.DeclarativeValidationConfig {
	c := rest.DeclarativeValidationConfig{NormalizationRules: o.normalize, Options: map[string]bool{}}
	for _, g := range o.gates {
		c.Options[string(g)] = utilfeature.DefaultFeatureGate.Enabled(g)
	}
	return c
}

func plain[T any](f func(T) field.ErrorList) func(context.Context, T) field.ErrorList {
	return func(_ context.Context, obj T) field.ErrorList { return f(obj) }
}

func event(ctx context.Context, e *core.Event) field.ErrorList {
	info, _ := genericapirequest.RequestInfoFrom(ctx)
	return corevalidation.ValidateEventCreate(e, schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion})
}

func prepareNamespace(n *core.Namespace) {
	n.Status = core.NamespaceStatus{Phase: core.NamespaceActive}
	n.Spec.Finalizers = append(n.Spec.Finalizers, core.FinalizerKubernetes)
}

func prepareVolume(v *core.PersistentVolume) {
	v.Status = core.PersistentVolumeStatus{Phase: core.VolumePending}
}

func volume(v *core.PersistentVolume) field.ErrorList {
	errs := corevalidation.ValidatePersistentVolume(v, corevalidation.ValidationOptionsForPersistentVolume(v, nil))
	return append(errs, volumevalidation.ValidatePersistentVolume(v)...)
}

func prepareClaim(c *core.PersistentVolumeClaim) {
	c.Status = core.PersistentVolumeClaimStatus{}
	pvcutil.DropDisabledFields(&c.Spec, nil)
	pvcutil.EnforceDataSourceBackwardsCompatibility(&c.Spec, nil)
	pvcutil.NormalizeDataSources(&c.Spec)
}

func claim(c *core.PersistentVolumeClaim) field.ErrorList {
	return corevalidation.ValidatePersistentVolumeClaim(c, corevalidation.ValidationOptionsForPersistentVolumeClaim(c, nil))
}

func preparePod(p *core.Pod) {
	p.Status = core.PodStatus{Phase: core.PodPending}
	podutil.DropDisabledPodFields(p, nil)
	podutil.DefaultPodLevelResources(p)
}

func pod(p *core.Pod) field.ErrorList {
	opts := podutil.GetValidationOptionsFromPodSpecAndMeta(&p.Spec, nil, &p.ObjectMeta, nil)
	opts.ResourceIsPod = true
	return corevalidation.ValidatePodCreate(p, opts)
}

func prepareController(c *core.ReplicationController) {
	c.Status = core.ReplicationControllerStatus{}
	podutil.DropDisabledTemplateFields(c.Spec.Template, nil)
}

func controller(c *core.ReplicationController) field.ErrorList {
	return corevalidation.ValidateReplicationController(c, podutil.GetValidationOptionsFromPodTemplate(c.Spec.Template, nil))
}

// prepareService fills in what is allocated, as far as validation asks for it.
func prepareService(s *core.Service) {
	s.Status = core.ServiceStatus{}
	if s.Spec.ClusterIP != "" && len(s.Spec.ClusterIPs) == 0 {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	if serviceutil.NeedsHealthCheck(s) && s.Spec.HealthCheckNodePort == 0 {
		s.Spec.HealthCheckNodePort = 30000
	}
}

// service validates as the API server does, and as its allocators do whatever the
// addresses of the cluster are.
func service(s *core.Service) field.ErrorList {
	errs := corevalidation.ValidateServiceCreate(s)
	single := s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == core.IPFamilyPolicySingleStack ||
		s.Spec.IPFamilyPolicy == nil && (s.Spec.ClusterIP != core.ClusterIPNone || len(s.Spec.Selector) > 0)
	if s.Spec.Type == core.ServiceTypeExternalName || !single {
		return errs
	}
	at := field.NewPath("spec", "ipFamilyPolicy")
	if len(s.Spec.ClusterIPs) == 2 {
		errs = append(errs, field.Invalid(at, s.Spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"))
	}
	if len(s.Spec.IPFamilies) == 2 {
		errs = append(errs, field.Invalid(at, s.Spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"))
	}
	return errs
}

func prepareReplicaSet(r *apps.ReplicaSet) {
	r.Status = apps.ReplicaSetStatus{}
	podutil.DropDisabledTemplateFields(&r.Spec.Template, nil)
}

func replicaSet(r *apps.ReplicaSet) field.ErrorList {
	return appsvalidation.ValidateReplicaSet(r, podutil.GetValidationOptionsFromPodTemplate(&r.Spec.Template, nil))
}

func prepareJob(j *batch.Job) {
	if !*j.Spec.ManualSelector {
		selectOwnPods(j)
	}
	j.Status = batch.JobStatus{}
	jobutil.DropDisabledFields(&j.Spec, nil)
	podutil.DropDisabledTemplateFields(&j.Spec.Template, nil)
}

// selectOwnPods gives a Job the labels and the selector that the API server makes.
func selectOwnPods(j *batch.Job) {
	labels := &j.Spec.Template.Labels
	if *labels == nil {
		*labels = map[string]string{}
	}
	for label, value := range map[string]string{
		batch.LegacyJobNameLabel: j.Name, batch.JobNameLabel: j.Name,
		batch.LegacyControllerUidLabel: string(j.UID), batch.ControllerUidLabel: string(j.UID),
	} {
		if _, ok := (*labels)[label]; !ok {
			(*labels)[label] = value
		}
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, ok := j.Spec.Selector.MatchLabels[batch.ControllerUidLabel]; !ok {
		j.Spec.Selector.MatchLabels[batch.ControllerUidLabel] = string(j.UID)
	}
}

func job(j *batch.Job) field.ErrorList {
	return batchvalidation.ValidateJobCreate(j, batchvalidation.JobValidationOptions{
		PodValidationOptions: podutil.GetValidationOptionsFromPodTemplate(&j.Spec.Template, nil), RequirePrefixedLabels: true,
	})
}

func prepareDefinition(d *apiextensions.CustomResourceDefinition) {
	d.Status = apiextensions.CustomResourceDefinitionStatus{}
	for _, v := range d.Spec.Versions {
		if v.Storage {
			d.Status.StoredVersions = []string{v.Name}
			break
		}
	}
}

func prepareRequest(r *certificates.CertificateSigningRequest) {
	r.Status = certificates.CertificateSigningRequestStatus{}
}

func prepareSlice(s *discovery.EndpointSlice) {
	for i := range s.Endpoints {
		s.Endpoints[i].DeprecatedTopology = nil
	}
}

func prepareResourceClaim(c *resource.ResourceClaim) {
	c.Status = resource.ResourceClaimStatus{}
	resourceclaimspec.DropDisabledFields(&c.Spec, nil)
}

func prepareResourceClaimTemplate(t *resource.ResourceClaimTemplate) {
	resourceclaimspec.DropDisabledFields(&t.Spec.Spec, nil)
}
