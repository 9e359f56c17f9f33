module parti/kube/pause

go 1.25.0
