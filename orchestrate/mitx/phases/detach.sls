old fleet is out:
  mitx_elb.swapped: []
