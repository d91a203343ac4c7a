// SPDX-License-Identifier: Apache-2.0
#include "host/services/host_services.hpp"

#include "host/services/exec.hpp"

namespace gantry::services {

HostServiceDesk::HostServiceDesk(const core::Config& config, FileKv& kv, Counters& counters,
                                 const base::PinnedBinary& helper)
    : config_(config), kv_(kv), counters_(counters), helper_(helper) {
  for (const auto& [name, backend] : config.backends)
    credentials_[name] = std::make_unique<CredentialFiles>(backend.credentials);
}

base::Status HostServiceDesk::ServeInto(const core::BackendConfig& backend,
                                        const channel::HostCall& request, base::TimePoint deadline,
                                        core::Cancellation* cancellation,
                                        channel::HostReply* reply) {
  switch (request.service_case()) {
    case channel::HostCall::kKvGet: {
      GANTRY_TRY_ASSIGN(KvValue value, kv_.Get(backend.name, request.kv_get().key()));
      reply->set_value(std::move(value.value));
      reply->set_version(value.version);
      return {};
    }
    case channel::HostCall::kKvPut: {
      const auto& put = request.kv_put();
      GANTRY_TRY_ASSIGN(const uint64_t version,
                        kv_.Put(backend.name, put.key(), put.value(), put.expected_version()));
      reply->set_version(version);
      return {};
    }
    case channel::HostCall::kKvRemove:
      return kv_.Remove(backend.name, request.kv_remove().key(),
                        request.kv_remove().expected_version());
    case channel::HostCall::kKvScan: {
      GANTRY_TRY_ASSIGN(const auto keys, kv_.Scan(backend.name, request.kv_scan().prefix()));
      for (const auto& key : keys) reply->add_keys(key);
      return {};
    }
    case channel::HostCall::kExec: {
      const auto& words = request.exec().argv();
      GANTRY_TRY_ASSIGN(ExecResult result, RunExec(backend, helper_, {words.begin(), words.end()},
                                                   request.exec().input(), deadline, cancellation));
      reply->set_exit_status(result.exit_status);
      reply->set_value(std::move(result.output));
      reply->set_error_output(std::move(result.error_output));
      return {};
    }
    case channel::HostCall::kSecretGet: {
      GANTRY_TRY_ASSIGN(const base::SecretBytes secret,
                        credentials_.at(backend.name)->Get(request.secret_get().name()));
      reply->set_value(secret.view().data(), secret.size());
      return {};
    }
    case channel::HostCall::kCount:
      counters_.Add(backend.name, request.count().name(), request.count().add());
      return {};
    case channel::HostCall::kJob:  // supervise's own: it knows the worker
    case channel::HostCall::SERVICE_NOT_SET:
      break;
  }
  return base::Fail(base::Code::kUnimplemented, "this host has no such service");
}

channel::HostReply HostServiceDesk::Serve(const std::string& backend,
                                          const channel::HostCall& request,
                                          base::TimePoint deadline,
                                          core::Cancellation* cancellation) {
  channel::HostReply reply;
  base::Status status;
  const auto configured = config_.backends.find(backend);
  if (configured == config_.backends.end())
    status = base::Fail(base::Code::kInternal, "backend " + backend + " is not configured");
  else if (std::chrono::steady_clock::now() >= deadline)
    status = base::Fail(base::Code::kDeadlineExceeded, "asked after its deadline");
  else
    status = ServeInto(configured->second, request, deadline, cancellation, &reply);
  if (!status) {
    reply.set_code(static_cast<int32_t>(status.error().code));
    reply.set_message(status.error().message);
  }
  return reply;
}

}  // namespace gantry::services
