"""Puts a job into the queue each minute."""

import time

import redis
import rq

import jobs

queue = rq.Queue(connection=redis.Redis())
while True:
    queue.enqueue(jobs.report)
    time.sleep(60)
