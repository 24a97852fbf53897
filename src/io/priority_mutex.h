// A mutex whose holder runs with the priority of whoever waits for it: a normal thread that holds it is not kept from going on by
// others while a real-time thread waits. For std::lock_guard.
#pragma once

#include <pthread.h>

#include "base/assert.h"

namespace perdure::io {

class PriorityMutex {
 public:
  PriorityMutex() {
    pthread_mutexattr_t attributes;
    PERDURE_ASSERT(::pthread_mutexattr_init(&attributes) == 0);
    PERDURE_ASSERT(::pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT) == 0);
    PERDURE_ASSERT(::pthread_mutex_init(&mutex_, &attributes) == 0);
    ::pthread_mutexattr_destroy(&attributes);
  }
  PriorityMutex(const PriorityMutex&) = delete;
  PriorityMutex& operator=(const PriorityMutex&) = delete;
  ~PriorityMutex() { ::pthread_mutex_destroy(&mutex_); }

  void lock() { PERDURE_ASSERT(::pthread_mutex_lock(&mutex_) == 0); }
  void unlock() { PERDURE_ASSERT(::pthread_mutex_unlock(&mutex_) == 0); }

 private:
  pthread_mutex_t mutex_;
};

}  // namespace perdure::io
