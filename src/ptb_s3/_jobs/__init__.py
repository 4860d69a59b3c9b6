"""Jobs: PTB's job queue as part of the state, so that a job outlives the process that made it.

Rule: a job's entity is ours (`record`), and APScheduler schedules from it in memory. An entity goes
when its last run has ended, not when that is handed over, so that a run which is cut off is done
again. Nothing of APScheduler's is written: triggers are neutral records, times are UTC.

* Pure: `record` is a job as it is saved, `triggers` and `wall_clock` say when it runs, `identity`
  which job of an earlier start one is, `claims` who may run it, `conflicts` merges two writers'.
* Pure, and without APScheduler: `listing` and `wording` are jobs as operators see them, and
  `going_back` says what becomes of those of an older state.
* `callbacks` turns functions into names and back, under the allow-list of classes.
* In a process: `table` holds all jobs, `scheduler` is APScheduler's with a listener, `runs` claims
  and runs what is due. `queue` puts them together for `ptb_s3.PersistentJobQueue`.
"""
