"""Start with each commit on main that changes the prefix ``inbox/``."""

from airflow.sdk import DAG, Asset, AssetWatcher, get_current_context, task

from airflow_provider.triggers import LakeFSCommitTrigger

inbox = Asset(
    "lakefs://lake/main/inbox",
    watchers=[
        AssetWatcher(
            name="inbox", trigger=LakeFSCommitTrigger(repo="lake", branch="main", prefix="inbox/", poll_interval=2)
        )
    ],
)

with DAG("live_reacting", schedule=[inbox]) as dag:

    @task
    def commits() -> list[str]:
        (events,) = get_current_context()["triggering_asset_events"].values()
        return [event.extra["payload"]["commit_id"] for event in events]

    commits()
