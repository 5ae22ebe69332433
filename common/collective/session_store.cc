#include "common/collective/session_store.h"

#include <c10/util/Exception.h>

namespace cohort {
namespace {

void Check(const absl::Status& status) {
  if (!status.ok()) C10_THROW_ERROR(DistStoreError, std::string(status.message()));
}

template <typename T>
T ValueOf(absl::StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

std::string Text(const SessionStore::Bytes& bytes) { return {bytes.begin(), bytes.end()}; }
SessionStore::Bytes BytesOf(const v1::StoreValue& value) {
  return {value.value().begin(), value.value().end()};
}

}  // namespace

c10::intrusive_ptr<c10d::Store> SessionStore::clone() {
  return c10::make_intrusive<SessionStore>(session_, getTimeout());
}

void SessionStore::set(const std::string& key, const Bytes& value) {
  v1::StoreSet request;
  request.set_generation(session_->generation());
  request.set_key(key);
  request.set_value(Text(value));
  Check(session_->calls().Set(request, Timeout()));
}

SessionStore::Bytes SessionStore::compareSet(const std::string& key, const Bytes& expected,
                                             const Bytes& desired) {
  v1::StoreCompareSet request;
  request.set_generation(session_->generation());
  request.set_key(key);
  request.set_expected(Text(expected));
  request.set_desired(Text(desired));
  return BytesOf(ValueOf(session_->calls().CompareSet(request, Timeout())));
}

SessionStore::Bytes SessionStore::get(const std::string& key) {
  return BytesOf(ValueOf(session_->calls().Get(Keys({key}, getTimeout()))));
}

int64_t SessionStore::add(const std::string& key, int64_t amount) {
  v1::StoreAdd request;
  request.set_generation(session_->generation());
  request.set_key(key);
  request.set_amount(amount);
  return ValueOf(session_->calls().Add(request, Timeout()));
}

bool SessionStore::deleteKey(const std::string& key) {
  return ValueOf(session_->calls().Delete(Keys({key}, getTimeout()), Timeout()));
}

bool SessionStore::check(const std::vector<std::string>& keys) {
  return ValueOf(session_->calls().Check(Keys(keys, getTimeout()), Timeout()));
}

int64_t SessionStore::getNumKeys() {
  return ValueOf(session_->calls().Count(Keys({}, getTimeout()), Timeout()));
}

void SessionStore::wait(const std::vector<std::string>& keys,
                        const std::chrono::milliseconds& timeout) {
  if (!keys.empty()) Check(session_->calls().Wait(Keys(keys, timeout)));
}

v1::StoreKeys SessionStore::Keys(const std::vector<std::string>& keys,
                                 const std::chrono::milliseconds& timeout) const {
  v1::StoreKeys request;
  request.set_generation(session_->generation());
  for (const std::string& key : keys) request.add_keys(key);
  request.set_timeout_seconds(absl::ToDoubleSeconds(absl::FromChrono(timeout)));
  return request;
}

}  // namespace cohort
